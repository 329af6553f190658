package main

import (
	"fmt"
	"net/http"
	"time"

	scsredis "github.com/alexedwards/scs/redisstore"
	"github.com/alexedwards/scs/v2"
	scsmemory "github.com/alexedwards/scs/v2/memstore"
	"github.com/boj/redistore"

	"github.com/pazzo-sessions/pazzo"
	"github.com/pazzo-sessions/pazzo/memstore"
)

// The sites' names in the report.
const (
	namePazzo     = "Pazzo"
	nameSnapshot  = "Pazzo, Snapshot"
	nameAssigning = "Pazzo, read then assign"
	nameSCS       = "scs"
	nameGorilla   = "gorilla"
	nameBare      = "no session"
)

// onRedis starts the sites that keep their sessions in Redis, each with a fresh
// session that has the fields.
func (b *bench) onRedis(fields []string) ([]*site, error) {
	server, err := b.redis()
	if err != nil {
		return nil, err
	}
	store, err := b.redisStore()
	if err != nil {
		return nil, err
	}
	peers := pool(server)
	b.onClose(func() { peers.Close() })
	manager := scs.New()
	manager.Store = scsredis.New(peers)
	gorilla, err := redistore.NewRediStoreWithPool(peers, []byte("0123456789abcdef0123456789abcdef"))
	if err != nil {
		return nil, err
	}
	apps, err := pazzoApps(store)
	if err != nil {
		return nil, err
	}
	apps[nameSCS] = scsApp(manager)
	apps[nameGorilla] = gorillaApp(gorilla)
	return b.start(apps, fields)
}

// onMemory starts the sites that keep their sessions in memory.
func (b *bench) onMemory(fields []string) ([]*site, error) {
	store := memstore.New(nil)
	b.onClose(func() { store.Close() })
	peer := scsmemory.New()
	b.onClose(peer.StopCleanup)
	manager := scs.New()
	manager.Store = peer
	apps, err := pazzoApps(store)
	if err != nil {
		return nil, err
	}
	apps[nameSCS] = scsApp(manager)
	return b.start(apps, fields)
}

func pazzoApps(store pazzo.Store) (map[string]http.Handler, error) {
	live, err := newPazzo(store, pazzo.Live)
	if err != nil {
		return nil, err
	}
	snapshot, err := newPazzo(store, pazzo.Snapshot)
	if err != nil {
		return nil, err
	}
	return map[string]http.Handler{
		namePazzo:     pazzoApp(live),
		nameAssigning: assigningApp(live),
		nameSnapshot:  pazzoApp(snapshot),
		nameBare:      bareApp(),
	}, nil
}

func (b *bench) start(apps map[string]http.Handler, fields []string) ([]*site, error) {
	var sites []*site
	for _, name := range [...]string{namePazzo, nameSnapshot, nameAssigning, nameSCS, nameGorilla, nameBare} {
		if apps[name] == nil {
			continue
		}
		s, err := b.serve(name, apps[name])
		if err != nil {
			return nil, err
		}
		if err := s.fill(fields); err != nil {
			return nil, err
		}
		sites = append(sites, s)
	}
	return sites, nil
}

// counters are the fields that /inc adds to.
var counters = [...]string{"c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7"}

func incPaths() (paths []string) {
	for _, c := range counters {
		paths = append(paths, "/inc?k="+c)
	}
	return paths
}

// race loads the sites named, in turn.
func (b *bench) race(sites []*site, names []string, paths []string) (results, error) {
	var contestants []contestant
	for _, name := range names {
		for _, s := range sites {
			if s.name == name {
				contestants = append(contestants, contestant{name, func(d time.Duration) (sample, error) {
					return s.load(inFlight, paths, d)
				}})
			}
		}
	}
	return b.compare(contestants)
}

// requestsPerSecond is the note beside a ratio.
func requestsPerSecond(got results, names ...string) (note string) {
	for i, name := range names {
		if i > 0 {
			note += ", "
		}
		note += fmt.Sprintf("%s %s", name, thousands(got.rate(name)))
	}
	return note + " requests/s"
}

// httpFigure compares two of those that raced.
func httpFigure(got results, path, a, b string, target bound) figure {
	wall, cpu := got.faster(a, b)
	return ratio(fmt.Sprintf("`%s`: %s beside %s", path, a, b), wall, cpu, target).
		noted(requestsPerSecond(got, a, b))
}

// panelOf draws the rates of those that raced, as multiples of scs's.
func panelOf(path string, got results, names ...string) *panel {
	p := &panel{title: "Requests per second, " + path}
	for _, name := range names {
		wall, _ := got.faster(name, nameSCS)
		p.bars = append(p.bars, bar{name, median(wall), times})
	}
	return p
}

func benchInc(b *bench) ([]figure, error) {
	sites, err := b.onRedis(counters[:])
	if err != nil {
		return nil, err
	}
	got, err := b.race(sites, []string{namePazzo, nameSCS, nameAssigning, nameGorilla, nameBare}, incPaths())
	if err != nil {
		return nil, err
	}
	return []figure{
		httpFigure(got, "/inc", namePazzo, nameSCS, atLeast(1.6)).drawn(panelOf("/inc", got, namePazzo, nameAssigning, nameSCS, nameGorilla)),
		httpFigure(got, "/inc", namePazzo, nameGorilla, atLeast(1.9)),
		httpFigure(got, "/inc", nameAssigning, nameSCS, bound{}),
		httpFigure(got, "/inc", nameBare, nameSCS, bound{}),
	}, nil
}

func benchGet(b *bench) ([]figure, error) {
	sites, err := b.onRedis(mixed[:])
	if err != nil {
		return nil, err
	}
	got, err := b.race(sites, []string{namePazzo, nameSCS, nameGorilla}, []string{"/get?k=f0", "/get?k=f3"})
	if err != nil {
		return nil, err
	}
	return []figure{
		httpFigure(got, "/get", namePazzo, nameSCS, atLeast(1.4)).drawn(panelOf("/get", got, namePazzo, nameSCS, nameGorilla)),
		httpFigure(got, "/get", namePazzo, nameGorilla, bound{}),
	}, nil
}

func benchMix(b *bench) ([]figure, error) {
	sites, err := b.onRedis(append(mixed[:], "sum"))
	if err != nil {
		return nil, err
	}
	got, err := b.race(sites, []string{namePazzo, nameSCS, nameSnapshot, nameGorilla}, []string{"/mix?k=sum"})
	if err != nil {
		return nil, err
	}
	return []figure{
		httpFigure(got, "/mix", namePazzo, nameSCS, atLeast(0.95)).drawn(panelOf("/mix", got, namePazzo, nameSnapshot, nameSCS, nameGorilla)),
		httpFigure(got, "/mix", nameSnapshot, nameSCS, atLeast(1.5)),
		httpFigure(got, "/mix", namePazzo, nameGorilla, bound{}),
	}, nil
}

func benchMemoryInc(b *bench) ([]figure, error) {
	sites, err := b.onMemory(counters[:])
	if err != nil {
		return nil, err
	}
	got, err := b.race(sites, []string{namePazzo, nameSCS, nameBare}, incPaths())
	if err != nil {
		return nil, err
	}
	return []figure{
		httpFigure(got, "/inc", namePazzo, nameSCS, bound{}),
		httpFigure(got, "/inc", namePazzo, nameBare, bound{}),
	}, nil
}

func benchMemoryGet(b *bench) ([]figure, error) {
	sites, err := b.onMemory(mixed[:])
	if err != nil {
		return nil, err
	}
	got, err := b.race(sites, []string{namePazzo, nameSCS}, []string{"/get?k=f0", "/get?k=f3"})
	if err != nil {
		return nil, err
	}
	return []figure{httpFigure(got, "/get", namePazzo, nameSCS, bound{})}, nil
}
