package demo

import (
	"net/http"

	"github.com/pazzo-sessions/pazzo"
)

// pazzoFresh ends the request's session and begins one with an empty cart, in which
// the user is logged in if one is named.
func (a *app) pazzoFresh(w http.ResponseWriter, r *http.Request) {
	ctx, session := r.Context(), pazzo.FromContext(r.Context())
	err := session.Destroy(ctx)
	if err == nil {
		err = emptyCart(ctx)
	}
	if user := r.FormValue("user"); err == nil && user != "" {
		err = session.Authenticate(ctx, user)
	}
	if err != nil {
		fail(w, err)
		return
	}
	a.pazzoState(w, r)
}

// pazzoAdd puts an item into the cart. In a race the session may have ended, or been
// logged in, by the time that it writes.
func (a *app) pazzoAdd(w http.ResponseWriter, r *http.Request, run *run) {
	ctx, item := r.Context(), pazzo.Counter(r.PathValue("item"))
	from := run.clock()
	_, err := item.Get(ctx)

	run.work(number(r))

	var n int64
	if err == nil {
		n, err = item.Add(ctx, 1)
	}
	answer := written{Value: n, From: from, To: run.clock()}
	if err != nil {
		answer.Error = plain(err)
	}
	writeJSON(w, pazzo.StatusCode(err), answer)
}

func (a *app) pazzoLogin(_ http.ResponseWriter, r *http.Request) error {
	return pazzo.FromContext(r.Context()).Authenticate(r.Context(), r.FormValue("user"))
}

func (a *app) pazzoLogout(_ http.ResponseWriter, r *http.Request) error {
	return pazzo.FromContext(r.Context()).Destroy(r.Context())
}

func (a *app) pazzoState(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	info, found, err := pazzo.FromContext(ctx).Info(ctx)
	if err != nil {
		fail(w, err)
		return
	}
	kept, err := readCart(ctx)
	if err != nil {
		fail(w, err)
		return
	}
	writeJSON(w, http.StatusOK, state{found, info.User, kept})
}

func (a *app) classicFresh(w http.ResponseWriter, r *http.Request) {
	s := a.classic.load(r)
	s.renew()
	s.data = classicData{User: r.FormValue("user"), Cart: cart{}}
	if err := s.save(w); err != nil {
		fail(w, err)
		return
	}
	writeJSON(w, http.StatusOK, s.state())
}

// classicAdd is pazzoAdd with a classic session.
func (a *app) classicAdd(w http.ResponseWriter, r *http.Request, run *run) {
	item := r.PathValue("item")
	from := run.clock()
	s := a.classic.load(r)

	run.work(number(r))

	s.data.Cart[item]++
	if err := s.save(w); err != nil {
		fail(w, err)
		return
	}
	writeJSON(w, http.StatusOK, written{Value: s.data.Cart[item], From: from, To: run.clock()})
}

func (a *app) classicLogin(w http.ResponseWriter, r *http.Request) error {
	s := a.classic.load(r)
	s.renew()
	s.data.User = r.FormValue("user")
	return s.save(w)
}

func (a *app) classicLogout(w http.ResponseWriter, r *http.Request) error {
	a.classic.load(r).destroy(w)
	return nil
}

func (a *app) classicState(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, http.StatusOK, a.classic.load(r).state())
}

func (s *classicSession) state() state { return state{s.found, s.data.User, s.data.Cart} }
