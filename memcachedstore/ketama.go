package memcachedstore

import (
	"cmp"
	"crypto/md5"
	"encoding/binary"
	"slices"
	"strconv"
)

// pointsPerServer is how many points of the ring belong to each server, four from one
// MD5. It is libmemcached's (MEMCACHED_POINTS_PER_SERVER_KETAMA).
const pointsPerServer = 160

// ring chooses a key's server as libmemcached does (update_continuum and dispatch_host in
// its hosts.cc and hash.cc).
type ring []point

type point struct {
	hash   uint32
	server int
}

func newRing(servers []address) ring {
	var r ring
	for i, a := range servers {
		name := a.host + ":" + a.port
		if a.port == defaultPort {
			name = a.host
		}
		for n := range pointsPerServer / 4 {
			sum := md5.Sum([]byte(name + "-" + strconv.Itoa(n)))
			for at := 0; at < len(sum); at += 4 {
				r = append(r, point{binary.LittleEndian.Uint32(sum[at:]), i})
			}
		}
	}
	slices.SortStableFunc(r, func(a, b point) int { return cmp.Compare(a.hash, b.hash) })
	return r
}

// server returns the number of the server that has the key: the one of the first point
// at or behind the key's.
func (r ring) server(key string) int {
	sum := md5.Sum([]byte(key))
	hash := binary.LittleEndian.Uint32(sum[:])
	at, _ := slices.BinarySearchFunc(r, hash, func(p point, hash uint32) int { return cmp.Compare(p.hash, hash) })
	if at == len(r) {
		at = 0
	}
	return r[at].server
}
