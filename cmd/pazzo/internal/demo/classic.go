package demo

import (
	"crypto/rand"
	"encoding/json"
	"net/http"
	"slices"
	"sync"
)

// classicStore is how most session libraries work: the whole session is loaded
// when a request starts and saved, whole, when it ends. gorilla/sessions has the
// handler call Get and Save, scs and Django do it in a middleware. It is their
// logic with nothing made worse, over a map instead of a database.
type classicStore struct {
	mu    sync.Mutex
	saved map[string][]byte // by id, encoded
	order []string          // ids, the oldest first
}

// classicSession is one request's copy.
type classicSession struct {
	store *classicStore
	id    string
	found bool // there was one
	data  classicData
}

type classicData struct {
	User string `json:"user"`
	Cart cart   `json:"cart"`
}

const (
	classicCookie = "__Host-classic"
	keepClassic   = 1000 // sessions
)

// load returns the request's copy of its session: an empty one with a new id if
// there is none.
func (c *classicStore) load(r *http.Request) *classicSession {
	s := &classicSession{store: c}
	if cookie, err := r.Cookie(classicCookie); err == nil {
		c.mu.Lock()
		text, found := c.saved[cookie.Value]
		c.mu.Unlock()
		if found && json.Unmarshal(text, &s.data) == nil {
			s.id, s.found = cookie.Value, true
		}
	}
	if s.id == "" {
		s.id = rand.Text()
	}
	if s.data.Cart == nil {
		s.data.Cart = make(cart)
	}
	return s
}

// save writes the copy back under its id, and sets the cookie.
func (s *classicSession) save(w http.ResponseWriter) error {
	text, err := json.Marshal(s.data)
	if err != nil {
		return err
	}
	s.store.put(s.id, text)
	s.setCookie(w, s.id, 0)
	return nil
}

func (c *classicStore) put(id string, text []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.saved == nil {
		c.saved = make(map[string][]byte)
	}
	if _, found := c.saved[id]; !found {
		c.order = append(c.order, id)
	}
	c.saved[id] = text
	if len(c.order) > keepClassic {
		delete(c.saved, c.order[0])
		c.order = c.order[1:]
	}
}

// renew gives the session a new id, as every library does at a login.
func (s *classicSession) renew() {
	s.store.forget(s.id)
	s.id = rand.Text()
}

// destroy deletes the session and the cookie.
func (s *classicSession) destroy(w http.ResponseWriter) {
	s.store.forget(s.id)
	s.setCookie(w, "", -1)
}

func (c *classicStore) forget(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.saved, id)
	c.order = slices.DeleteFunc(c.order, func(other string) bool { return other == id })
}

func (s *classicSession) setCookie(w http.ResponseWriter, value string, maxAge int) {
	http.SetCookie(w, &http.Cookie{
		Name:     classicCookie,
		Value:    value,
		Path:     "/",
		MaxAge:   maxAge,
		Secure:   true,
		HttpOnly: true,
		SameSite: http.SameSiteLaxMode,
	})
}
