package main

import (
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/alexedwards/scs/v2"
	"github.com/gorilla/sessions"

	"github.com/pazzo-sessions/pazzo"
)

// The app that is compared, once for each library and in its own idiom. k names
// an integer field.
//
//	/inc   adds 1 to the field and prints the sum
//	/get   prints the field
//	/mix   reads f0…f4 one by one, writes their sum + 1 to the field, prints the sum
//	/set   sets the field to the integer v

var mixed = [...]string{"f0", "f1", "f2", "f3", "f4"}

type jsonText = json.RawMessage

const (
	visits pazzo.Counter     = "visits"
	theme  pazzo.Key[string] = "theme"
)

func query(r *http.Request) (k string, v int) {
	q := r.URL.Query()
	v, _ = strconv.Atoi(q.Get("v"))
	return q.Get("k"), v
}

func answer(w http.ResponseWriter, n int, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	var buffer [20]byte
	w.Write(strconv.AppendInt(buffer[:0], int64(n), 10))
}

// pazzoApp uses Pazzo as its documentation tells.
func pazzoApp(m *pazzo.Manager) http.Handler { return m.Handler(pazzoRoutes(pazzoInc)) }

// assigningApp uses Pazzo in the idiom of its peers: it reads, then assigns.
func assigningApp(m *pazzo.Manager) http.Handler { return m.Handler(pazzoRoutes(pazzoAssign)) }

func pazzoRoutes(inc func(r *http.Request, k string) (int, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		k, v := query(r)
		var err error
		switch r.URL.Path {
		case "/inc":
			v, err = inc(r, k)
		case "/get":
			var n int64
			n, err = pazzo.Counter(k).Get(r.Context())
			v = int(n)
		case "/mix":
			v, err = pazzoMix(r, k)
		case "/set":
			err = pazzo.Counter(k).Set(r.Context(), int64(v))
		}
		answer(w, v, err)
	})
}

func pazzoInc(r *http.Request, k string) (int, error) {
	n, err := pazzo.Counter(k).Add(r.Context(), 1)
	return int(n), err
}

func pazzoAssign(r *http.Request, k string) (int, error) {
	c := pazzo.Counter(k)
	n, err := c.Get(r.Context())
	if err != nil {
		return 0, err
	}
	return int(n + 1), c.Set(r.Context(), n+1)
}

func pazzoMix(r *http.Request, k string) (int, error) {
	sum := int64(0)
	for _, name := range mixed {
		n, err := pazzo.Counter(name).Get(r.Context())
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return int(sum), pazzo.Counter(k).Set(r.Context(), sum+1)
}

func scsApp(m *scs.SessionManager) http.Handler {
	return m.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		k, v := query(r)
		ctx := r.Context()
		switch r.URL.Path {
		case "/inc":
			v = m.GetInt(ctx, k) + 1
			m.Put(ctx, k, v)
		case "/get":
			v = m.GetInt(ctx, k)
		case "/mix":
			v = 0
			for _, name := range mixed {
				v += m.GetInt(ctx, name)
			}
			m.Put(ctx, k, v+1)
		case "/set":
			m.Put(ctx, k, v)
		}
		answer(w, v, nil)
	}))
}

func gorillaApp(store sessions.Store) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		k, v := query(r)
		s, err := store.Get(r, "session")
		if err != nil {
			answer(w, 0, err)
			return
		}
		integer := func(name string) int {
			n, _ := s.Values[name].(int)
			return n
		}
		switch r.URL.Path {
		case "/inc":
			v = integer(k) + 1
			s.Values[k] = v
			err = s.Save(r, w)
		case "/get":
			v = integer(k)
		case "/mix":
			v = 0
			for _, name := range mixed {
				v += integer(name)
			}
			s.Values[k] = v + 1
			err = s.Save(r, w)
		case "/set":
			s.Values[k] = v
			err = s.Save(r, w)
		}
		answer(w, v, err)
	})
}

// bareApp has no session: what net/http and the load generator alone come to.
func bareApp() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, v := query(r)
		answer(w, v, nil)
	})
}
