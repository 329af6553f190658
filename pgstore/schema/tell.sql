-- Has the server tell of changes of sessions, on the channel that is named as the schema:
-- the handle, or “all”. What is made says nothing, since nobody has a copy of it; nor does
-- the deletion of what has expired, since a copy expires by itself.
CREATE OR REPLACE FUNCTION @tell_of_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF TG_OP = 'TRUNCATE' THEN
		PERFORM pg_notify(TG_TABLE_SCHEMA, 'all');
	ELSE
		PERFORM pg_notify(TG_TABLE_SCHEMA, encode(substr(OLD.key, length(OLD.key) - 15), 'hex'));
	END IF;
	RETURN NULL;
END $$;

CREATE TRIGGER tell_of_update AFTER UPDATE ON @sessions
	FOR EACH ROW EXECUTE FUNCTION @tell_of_change();

CREATE TRIGGER tell_of_delete AFTER DELETE ON @sessions
	FOR EACH ROW WHEN (OLD.expires > floor(extract(epoch FROM clock_timestamp()) * 1000))
	EXECUTE FUNCTION @tell_of_change();

CREATE TRIGGER tell_of_truncate AFTER TRUNCATE ON @sessions
	FOR EACH STATEMENT EXECUTE FUNCTION @tell_of_change();
