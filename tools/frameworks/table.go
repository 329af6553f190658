package main

// column is a feature.
type column struct {
	title string
	about string // for docs/frameworks.md
}

var (
	shared = column{"one session with the others", "a browser finds in each of them what it did in any other, over Redis and over the agent"}
	storm  = column{"overlapping requests", "many at once on one session, and nothing is lost"}
	old    = column{"old tokens", "writes with a token that a login has superseded, or a logout ended, are answered 409"}
	first  = column{"the cookie", "set by the first write, and by nothing else"}
	login  = column{"login, logout", "a login renews the token and keeps the fields, a logout ends the session"}
	failed = column{"errors", "a cookie that has been set goes out with a 500 as well"}
	stream = column{"streams", "the cookie is there before the first byte, and the session is written while the stream goes on; server-sent events likewise"}
	socket = column{"WebSocket", "an upgrade carries the session, and the socket writes to it"}
	down   = column{"the store is down", "an error in time, and no empty session"}

	columns = []column{shared, storm, old, first, login, failed, stream, socket, down}
)

// proof is a test.
type proof struct {
	file, test string
	part       string // of the test: a subtest
	partFile   string // where that is, if not in the same file
}

// framework is a row.
type framework struct {
	app    string // under examples/, and in the browser's test
	name   string
	by     string // what of ours is used
	proofs map[column]proof
	lacks  map[column]string // what the framework itself has not, and why
}

// wsgi is what frameworks over WSGI lack.
var wsgi = map[column]string{socket: "WSGI has no WebSockets"}

var frameworks = []framework{
	{"nethttp", "net/http", "[`Manager.Handler`](../handler.go)", suite("internal/adaptertest/nethttp_test.go", "TestNetHTTP"), nil},
	{"chi", "chi", "[`Manager.Handler`](../handler.go)", suite("internal/adaptertest/nethttp_test.go", "TestChi"), nil},
	{"gin", "gin", "[`pazzogin`](../pazzogin)", suite("pazzogin/pazzogin_test.go", "TestGin"), nil},
	{"echo", "echo 5", "[`pazzoecho`](../pazzoecho)", suite("pazzoecho/pazzoecho_test.go", "TestEcho"), nil},
	{"", "echo 4", "[`pazzoechov4`](../pazzoechov4)", suite("pazzoechov4/pazzoechov4_test.go", "TestEchoV4"), nil},
	{"fiber", "fiber 3", "[`pazzofiber`](../pazzofiber)", suite("pazzofiber/pazzofiber_test.go", "TestFiber"), nil},
	{"django", "Django", "[`pazzo.django`](../clients/python)", python("django", map[column]string{
		first: "test_a_visit", login: "test_login_and_logout", failed: "test_a_logins_cookie_goes_out_with_a_500",
		stream: "test_streams", down: "test_a_store_that_is_down",
	}), wsgi},
	{"flask", "Flask", "[`pazzo.flask`](../clients/python)", python("flask", map[column]string{
		first: "test_a_visit", login: "test_login_regenerate_logout", failed: "test_a_logins_cookie_survives_a_crash",
		stream: "test_streams", down: "test_a_store_that_is_down",
	}), wsgi},
	{"bottle", "Bottle", "[`pazzo.bottle`](../clients/python)", python("wsgi", map[column]string{
		first: "test_bottle", login: "test_bottle", failed: "test_a_logins_cookie_goes_out_with_bottles_500",
		stream: "test_bottle_streams", down: "test_bottle_with_a_store_that_is_down",
	}), wsgi},
	{"starlette", "Starlette (ASGI)", "[`pazzo.asgi`](../clients/python)", python("asgi", map[column]string{
		first: "test_a_visit", login: "test_login_and_logout", failed: "test_a_logins_cookie_goes_out_with_a_500",
		stream: "test_streaming", socket: "test_websockets", down: "test_a_store_that_is_down",
	}), nil},
	{"express", "Express", "[`pazzo`](../clients/node)", node("express", map[column]string{
		first: "save() without a callback is a promise; nothing to save makes no session",
		login: "logs in and out; other languages see who it is", failed: "a redirect, a file, an error and a 304 carry the cookie",
		stream: "streams: the cookie goes first, writes take effect while it goes on",
		socket: "a WebSocket of ws has the session of its upgrade",
		down:   "a store that is down is an error in time, not an empty session",
	}), nil},
	{"fastify", "Fastify", "[`pazzo/fastify`](../clients/node)", node("fastify", map[column]string{
		first: "request.session: write-through and data", login: "login, renewal, logout", failed: "a login's cookie goes out with a 500",
		stream: "streams: the cookie goes first, writes take effect while it goes on",
		socket: "a WebSocket of @fastify/websocket has the session of its upgrade",
		down:   "a store that is down is an error, not an empty session",
	}), nil},
	{"", "node:http", "[`pazzo`](../clients/node)", node("http", map[column]string{
		storm: "1,000 requests at once on one session lose nothing",
		old:   "a superseded token: 409 from writes, reads find nothing, no cookie is said",
		first: "the default cookie is set by the first write, once", login: "logout deletes the cookie with the same attributes",
		failed: "a renewal's cookie goes out with a 500, too",
		stream: "streams: the cookie goes first, writes take effect while it goes on",
		socket: "a WebSocket has the session of its upgrade",
		down:   "a store that is down is an error in time, not an empty session",
	}), nil},
}

// browser is the test of all examples together.
var browser = map[column]proof{
	shared: {file: "verify/domain_test.go", test: "TestDomain", part: "apps"},
	storm:  {file: "verify/domain_test.go", test: "TestDomain", part: "storm"},
	old:    {file: "verify/domain_test.go", test: "TestDomain", part: "logout"},
}

// suite are the proofs of a test that runs the adapters' suite.
func suite(file, test string) map[column]proof {
	parts := map[column]string{
		storm: "1000 requests at once", old: "tokens of old are answered 409", first: "the first write makes a session",
		login: "login and logout", failed: "an error keeps the cookie", stream: "cookie before the first streamed byte",
		socket: "WebSocket", down: "Redis",
	}
	proofs := make(map[column]proof)
	for c, part := range parts {
		proofs[c] = proof{file, test, part, "internal/adaptertest/suite.go"}
	}
	return proofs
}

func python(file string, tests map[column]string) map[column]proof {
	return named("clients/python/tests/test_"+file+".py", tests)
}

func node(file string, tests map[column]string) map[column]proof {
	return named("clients/node/tests/"+file+".test.mjs", tests)
}

func named(file string, tests map[column]string) map[column]proof {
	proofs := make(map[column]proof)
	for c, test := range tests {
		proofs[c] = proof{file: file, test: test}
	}
	return proofs
}
