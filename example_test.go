package pazzo_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"

	"github.com/pazzo-sessions/pazzo"
	"github.com/pazzo-sessions/pazzo/memstore"
)

// openApp is what an app does once, at its start. Call closing at its end.
func openApp() (sessions *pazzo.Manager, closing func() error) {
	store := memstore.New(nil)
	sessions, err := pazzo.New(store, &pazzo.Options{
		SecretKeys: []string{"keep this out of the code; `pazzo secret` makes one"},
	})
	if err != nil {
		log.Fatal(err)
	}
	return sessions, store.Close
}

// firstVisit returns the context of a visitor's request, which Manager.Handler
// makes in an app.
func firstVisit() (ctx context.Context, closing func() error) {
	sessions, closing := openApp()
	session, err := sessions.Acquire("")
	if err != nil {
		log.Fatal(err)
	}
	return pazzo.NewContext(context.Background(), session), closing
}

func ExampleManager_Handler() {
	store := memstore.New(nil)
	defer store.Close()
	sessions, err := pazzo.New(store, &pazzo.Options{
		SecretKeys: []string{"keep this out of the code; `pazzo secret` makes one"},
	})
	if err != nil {
		log.Fatal(err)
	}

	const visits pazzo.Counter = "visits"
	mux := http.NewServeMux()
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		n, err := visits.Add(r.Context(), 1)
		if err != nil {
			http.Error(w, "sorry", pazzo.StatusCode(err))
			return
		}
		fmt.Fprintf(w, "visit %d", n)
	})
	handler := sessions.Handler(mux)

	request := httptest.NewRequest("GET", "https://app.example/", nil)
	for range 2 {
		response := httptest.NewRecorder()
		handler.ServeHTTP(response, request)
		fmt.Println(response.Body)
		for _, cookie := range response.Result().Cookies() {
			fmt.Println("cookie", cookie.Name)
			request.AddCookie(cookie)
		}
	}
	// Output:
	// visit 1
	// cookie __Host-session
	// visit 2
}

func ExampleKey() {
	type Item struct {
		Name  string
		Count int
	}
	const cart pazzo.Key[[]Item] = "cart"
	ctx, closing := firstVisit() // in a handler: r.Context()
	defer closing()

	_, found, err := cart.Get(ctx)
	fmt.Println(found, err)

	// Nothing that another request adds at the same time is lost.
	items, err := cart.Update(ctx, func(items []Item) ([]Item, error) {
		return append(items, Item{"apple", 3}), nil
	})
	fmt.Println(items, err)
	// Output:
	// false <nil>
	// [{apple 3}] <nil>
}

func ExampleCounter() {
	const visits pazzo.Counter = "visits"
	ctx, closing := firstVisit()
	defer closing()

	n, err := visits.Add(ctx, 1)
	fmt.Println(n, err)
	n, err = visits.Add(ctx, 41)
	fmt.Println(n, err)
	// Output:
	// 1 <nil>
	// 42 <nil>
}

func ExampleFlash() {
	const notices pazzo.Flash[string] = "notices"
	ctx, closing := firstVisit()
	defer closing()

	if err := notices.Append(ctx, "Your order has been sent."); err != nil {
		log.Fatal(err)
	}
	for range 2 {
		list, err := notices.Drain(ctx)
		fmt.Println(len(list), err)
	}
	// Output:
	// 1 <nil>
	// 0 <nil>
}

func ExampleAtomically() {
	const (
		stock   pazzo.Counter       = "stock"
		ordered pazzo.Key[[]string] = "ordered"
	)
	errSoldOut := errors.New("sold out")
	ctx, closing := firstVisit()
	defer closing()
	if err := stock.Set(ctx, 1); err != nil {
		log.Fatal(err)
	}
	order := func(name string) error {
		return pazzo.Atomically(ctx, func(ctx context.Context) error {
			left, err := stock.Add(ctx, -1)
			if err != nil {
				return err
			}
			if left < 0 {
				return errSoldOut // and the stock is what it was
			}
			names, err := ordered.GetOr(ctx, nil)
			if err != nil {
				return err
			}
			return ordered.Set(ctx, append(names, name))
		})
	}
	fmt.Println(order("apple"))
	fmt.Println(order("pear"))
	left, _ := stock.Get(ctx)
	names, _ := ordered.GetOr(ctx, nil)
	fmt.Println(left, names)
	// Output:
	// <nil>
	// sold out
	// 0 [apple]
}

func ExampleManager_Acquire() {
	sessions, closing := openApp()
	defer closing()

	// A message over gRPC or a WebSocket comes with a token, a first one without.
	handle := func(token string) string {
		session, err := sessions.Acquire(token)
		if err != nil {
			return "a token that is not ours: " + err.Error()
		}
		ctx := pazzo.NewContext(context.Background(), session)
		n, err := pazzo.Counter("messages").Add(ctx, 1)
		fmt.Println(n, err)
		return session.Token() // for the client to send with the next
	}
	token := handle("")
	fmt.Println(handle(token) == token)
	fmt.Println(handle("forged"))
	// Output:
	// 1 <nil>
	// 2 <nil>
	// true
	// a token that is not ours: pazzo: invalid token
}

func ExampleSession_Authenticate() {
	ctx, closing := firstVisit()
	defer closing()
	session := pazzo.FromContext(ctx)
	cart := pazzo.Counter("cart")
	if _, err := cart.Add(ctx, 2); err != nil {
		log.Fatal(err)
	}
	before := session.Token()

	// The password is right.
	if err := session.Authenticate(ctx, "ann"); err != nil {
		log.Fatal(err)
	}
	user, _ := session.User(ctx)
	n, _ := cart.Get(ctx)
	fmt.Println(user, "has", n, "in the cart, and a new token:", session.Token() != before)
	// Output: ann has 2 in the cart, and a new token: true
}

func ExampleObserver() {
	store := memstore.New(nil)
	defer store.Close()
	sessions, err := pazzo.New(store, &pazzo.Options{
		SecretKeys: []string{"keep this out of the code; `pazzo secret` makes one"},
		Logger:     slog.New(slog.DiscardHandler),
		Observer: &pazzo.Observer{
			Operation: func(_ context.Context, e pazzo.Operation) { fmt.Println(e.Store, e.Name, e.Outcome) },
			LifeCycle: func(_ context.Context, e pazzo.LifeCycle) { fmt.Println("session", e.Event) },
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	session, _ := sessions.Acquire("")
	_, _ = session.Add(context.Background(), "n", 1)
	// Output:
	// memory create ok
	// session created
}
