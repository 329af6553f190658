package main

import "fmt"

// benchLostRedis and benchLostMemory count what is lost.
func benchLostRedis(b *bench) ([]figure, error) {
	sites, err := b.onRedis(counters[:])
	if err != nil {
		return nil, err
	}
	return b.lost(sites)
}

func benchLostMemory(b *bench) ([]figure, error) {
	sites, err := b.onMemory(counters[:])
	if err != nil {
		return nil, err
	}
	return b.lost(sites)
}

func (b *bench) lost(sites []*site) (figures []figure, err error) {
	where := "memory"
	for _, s := range sites {
		if s.name == nameGorilla {
			where = "Redis"
		}
	}
	losses := &panel{title: "Increments lost, 8 counters, 64 in flight"}
	for _, workers := range [...]int{inFlight / 2, inFlight} {
		for _, s := range sites {
			if s.name == nameBare || s.name == nameSnapshot {
				continue
			}
			acked, kept, err := b.count(s, workers)
			if err != nil {
				return nil, err
			}
			f := single(fmt.Sprintf("%s over %s, %d in flight", s.name, where, workers),
				100*float64(acked-kept)/float64(acked), percent, bound{})
			if s.name == namePazzo {
				f.bound = exactly0()
			}
			f.note = fmt.Sprintf("%s acknowledged, %s kept", thousands(float64(acked)), thousands(float64(kept)))
			if workers == inFlight && where == "Redis" {
				losses.bars = append(losses.bars, bar{s.name, f.value(), percent})
			}
			figures = append(figures, f)
		}
	}
	if len(losses.bars) > 0 {
		figures[0].panel = losses
	}
	return figures, nil
}

// count increments for a while and returns how many were acknowledged and how
// many the session then holds.
func (b *bench) count(s *site, workers int) (acked, kept int64, err error) {
	before, err := s.sum()
	if err != nil {
		return 0, 0, err
	}
	got, err := s.load(workers, incPaths(), 4*b.slice)
	if err != nil {
		return 0, 0, err
	}
	after, err := s.sum()
	return got.ops, after - before, err
}

// sum adds up the counters in the session.
func (s *site) sum() (total int64, err error) {
	for _, c := range counters {
		n, err := s.get("/get?k=" + c)
		if err != nil {
			return 0, err
		}
		total += int64(n)
	}
	return total, nil
}
