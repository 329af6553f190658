package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/go-chi/chi/v5"
	"github.com/pazzo-sessions/pazzo"
)

// newApp returns the app, with its sessions in the store of the manager, which is
// middleware like any other.
func newApp(sessions *pazzo.Manager) http.Handler {
	router := chi.NewRouter()
	router.Use(sessions.Handler)
	router.Get("/inc", inc)
	router.Get("/get", get)
	router.Get("/mix", mix)
	router.Get("/set", set)
	router.Get("/dump", dump)
	router.Get("/login", login)
	router.Get("/logout", logout)
	router.Get("/me", me)
	return router
}

// inc adds 1 to an integer field. No addition is lost, however many requests run
// at the same time.
func inc(w http.ResponseWriter, r *http.Request) {
	n, err := pazzo.Counter(r.FormValue("k")).Add(r.Context(), 1)
	answer(w, n, err)
}

// get prints a field of any type, or 0.
func get(w http.ResponseWriter, r *http.Request) {
	text, found, err := pazzo.FromContext(r.Context()).Get(r.Context(), r.FormValue("k"))
	if !found {
		text = json.RawMessage("0")
	}
	answer(w, string(text), err)
}

// mix reads five fields and writes a sixth.
func mix(w http.ResponseWriter, r *http.Request) {
	var sum int64
	for _, field := range []pazzo.Counter{"f0", "f1", "f2", "f3", "f4"} {
		n, err := field.Get(r.Context())
		if err != nil {
			answer(w, nil, err)
			return
		}
		sum += n
	}
	err := pazzo.Counter(r.FormValue("k")).Set(r.Context(), sum+1)
	answer(w, sum, err)
}

// set gives a field any JSON value.
func set(w http.ResponseWriter, r *http.Request) {
	value := r.FormValue("v")
	err := pazzo.FromContext(r.Context()).Set(r.Context(), r.FormValue("k"), json.RawMessage(value))
	answer(w, value, err)
}

// dump prints all fields as one JSON object.
func dump(w http.ResponseWriter, r *http.Request) {
	all, err := pazzo.FromContext(r.Context()).All(r.Context())
	fields := make(map[string]json.RawMessage)
	for name, text := range all {
		fields[name] = text
	}
	object, encodeErr := json.Marshal(fields)
	w.Header().Set("Content-Type", "application/json")
	answer(w, string(object), errors.Join(err, encodeErr))
}

// login logs the user in: the session keeps its fields and gets a new cookie.
func login(w http.ResponseWriter, r *http.Request) {
	user := r.FormValue("user")
	if user == "" {
		http.Error(w, "user is missing", http.StatusBadRequest)
		return
	}
	err := pazzo.FromContext(r.Context()).Authenticate(r.Context(), user)
	answer(w, user, err)
}

// logout ends the session for good.
func logout(w http.ResponseWriter, r *http.Request) {
	err := pazzo.FromContext(r.Context()).Destroy(r.Context())
	answer(w, "", err)
}

// me prints who is logged in, or nothing.
func me(w http.ResponseWriter, r *http.Request) {
	user, err := pazzo.FromContext(r.Context()).User(r.Context())
	answer(w, user, err)
}

// answer prints a value, or what went wrong. 409 says that the session has ended
// or that a login has replaced its cookie.
func answer(w http.ResponseWriter, value any, err error) {
	switch code := pazzo.StatusCode(err); {
	case err == nil:
		fmt.Fprint(w, value)
	case code == http.StatusConflict:
		w.WriteHeader(code)
	default:
		http.Error(w, err.Error(), code)
	}
}
