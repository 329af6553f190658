package stores

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/pazzo-sessions/pazzo/nearcache"
)

// The parameters of a near cache.
const (
	nearCache = "nearcache"
	maxStale  = "max_stale"
	lives     = "ttl"
)

// cutNearCache takes the parameters of a near cache out of a URL. The options are nil if it
// asks for none.
func cutNearCache(rawURL string) (bare string, o *nearcache.Options, err error) {
	place, rawQuery, _ := strings.Cut(rawURL, "?")
	query, err := url.ParseQuery(rawQuery)
	if err != nil || !query.Has(nearCache) && !query.Has(maxStale) && !query.Has(lives) {
		return rawURL, nil, nil // what else is wrong, the store says
	}
	if strings.HasPrefix(place, "memory:") || strings.HasPrefix(place, "pebble:") {
		return "", nil, fmt.Errorf("%w: %s is for a store on a server; memory and pebble are in this process", ErrURL, nearCache)
	}
	if o, err = nearCacheOptions(query); err != nil {
		return "", nil, err
	}
	query.Del(nearCache)
	query.Del(maxStale)
	query.Del(lives)
	if rawQuery = query.Encode(); rawQuery != "" {
		place += "?" + rawQuery
	}
	return place, o, nil
}

func nearCacheOptions(query url.Values) (*nearcache.Options, error) {
	size, err := strconv.ParseInt(query.Get(nearCache), 10, 64)
	if err != nil || size < 0 || len(query[nearCache]) > 1 {
		return nil, fmt.Errorf("%w: %s %q; 1, or a number of bytes is allowed", ErrURL, nearCache, strings.Join(query[nearCache], ", "))
	}
	o := &nearcache.Options{}
	if size > 1 {
		o.MaxBytes = size
	}
	for name, to := range map[string]*time.Duration{maxStale: &o.MaxStale, lives: &o.TTL} {
		if text := query.Get(name); text != "" {
			if *to, err = time.ParseDuration(text); err != nil || *to <= 0 {
				return nil, fmt.Errorf("%w: %s %q; a time such as 2s is allowed", ErrURL, name, text)
			}
		}
	}
	if size == 0 {
		return nil, nil
	}
	return o, nil
}
