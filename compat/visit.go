package compat

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/pazzo-sessions/pazzo"
)

// cookieName is that under which a Manager is told of a token.
const cookieName = "__Host-session"

// Sessions gives sessions whose cookie, its name and its attributes, the caller
// sees to. It is safe for concurrent use.
type Sessions struct{ manager *pazzo.Manager }

// New returns Sessions over a store. Options.Cookie has to be empty; pazzo.ErrOptions
// is returned when it is not, or when another option is invalid.
func New(store pazzo.Store, options *pazzo.Options) (*Sessions, error) {
	var o pazzo.Options
	if options != nil {
		o = *options
	}
	if o.Cookie != (pazzo.Cookie{}) {
		return nil, fmt.Errorf("%w: Cookie must be empty: the attributes of the cookie are set where the library that this stands for has them", pazzo.ErrOptions)
	}
	if store == nil {
		return nil, fmt.Errorf("%w: the store is nil", pazzo.ErrOptions)
	}
	o.Cookie = pazzo.Cookie{Name: cookieName, Persistent: true}
	manager, err := pazzo.New(store, &o)
	if err != nil {
		return nil, err
	}
	return &Sessions{manager}, nil
}

// Manager is that of the sessions, to list and revoke them. Its Handler knows
// another cookie: do not use it.
func (s *Sessions) Manager() *pazzo.Manager { return s.manager }

// Begin returns the session of the tokens that came with a request, in the order of
// its cookies: the first live one counts. Of the headers, those of Fetch metadata are
// looked at; header may be nil. The store is not asked before the first use.
func (s *Sessions) Begin(ctx context.Context, header http.Header, tokens ...string) *Visit {
	own := make(http.Header)
	for _, name := range []string{"Sec-Fetch-Dest", "Sec-Fetch-Mode", "Sec-Fetch-Site"} {
		if v, ok := header[name]; ok {
			own[name] = v
		}
	}
	v := &Visit{}
	for _, token := range tokens {
		if _, ok := HandleOf(token); ok {
			own.Add("Cookie", cookieName+"="+token)
			v.tokens = append(v.tokens, token)
		}
	}
	// A session that the context carries, such as another one of this request, is not
	// what is asked for.
	v.Session = s.manager.Begin(pazzo.NewContext(ctx, nil), own)
	return v
}

// HandleOf returns the handle that a token names, which is not verified.
func HandleOf(token string) (h pazzo.Handle, ok bool) {
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(raw) < len(h) {
		return h, false
	}
	return pazzo.Handle(raw[:len(h)]), true
}

// Visit is a session as one request sees it.
type Visit struct {
	*pazzo.Session
	tokens []string
}

// Current asks the store about the session and returns it with the token that opens
// it: the newest that this request has made, otherwise the one that came with it.
// found is false if there is none, or if the token has been superseded.
func (v *Visit) Current(ctx context.Context) (token string, info pazzo.Info, found bool, err error) {
	info, found, err = v.Info(ctx)
	if err != nil || !found {
		return "", info, false, err
	}
	if token := v.Session.Token(); token != "" {
		return token, info, true, nil
	}
	for _, token := range v.tokens {
		if h, _ := HandleOf(token); h == info.Handle {
			return token, info, true, nil
		}
	}
	return "", info, false, nil
}

// Respond returns the cookie that the response is to set, of which Value, MaxAge and
// Expires count, or nil if there is none. From then on what has to set the cookie
// gives pazzo.ErrResponseStarted.
func (v *Visit) Respond() *http.Cookie {
	h := make(http.Header)
	v.StartResponse(h)
	for _, line := range h["Set-Cookie"] {
		if c, err := http.ParseSetCookie(line); err == nil && c.Name == cookieName {
			return c
		}
	}
	return nil
}

// Fields reads all fields, by the key that each is for. The value of a field that
// does not decode is a *pazzo.DecodeError, so that it spoils nothing else. texts has
// them as the store has them, by name.
func (v *Visit) Fields(ctx context.Context) (values map[any]any, texts map[string]string, err error) {
	all, err := v.All(ctx)
	if err != nil {
		return nil, nil, err
	}
	values, texts = make(map[any]any), make(map[string]string)
	for name, text := range all {
		texts[name] = string(text)
		values[Key(name)] = decodeField(name, text)
	}
	return values, texts, nil
}

func decodeField(name string, text []byte) any {
	value, err := Decode(text)
	if err != nil {
		return &pazzo.DecodeError{Field: name, Text: text, Err: err}
	}
	return value
}

// Take removes a field and returns its value, as Fields has it: of several requests
// at the same time, one finds it.
func (v *Visit) Take(ctx context.Context, name string) (value any, found bool, err error) {
	text, found, err := v.Pop(ctx, name)
	if err != nil || !found {
		return nil, false, err
	}
	return decodeField(name, text), true, nil
}

// Merge writes all fields into to, in one step, destroys the session and returns its
// values.
func (v *Visit) Merge(ctx context.Context, to *Visit) (map[any]any, error) {
	values, texts, err := v.Fields(ctx)
	if err != nil || len(texts) == 0 {
		return nil, err
	}
	err = pazzo.Atomically(pazzo.NewContext(ctx, to.Session), func(ctx context.Context) error {
		for _, name := range slices.Sorted(maps.Keys(texts)) {
			if err := to.Set(ctx, name, json.RawMessage(texts[name])); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if err := v.Destroy(ctx); err != nil && !errors.Is(err, pazzo.ErrGone) {
		return nil, err
	}
	return values, nil
}
