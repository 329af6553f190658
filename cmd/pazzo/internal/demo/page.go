package demo

import (
	"embed"
	"io/fs"
	"net/http"

	"github.com/pazzo-sessions/pazzo"
)

//go:embed web
var embedded embed.FS

// visits counts in the session how often its page was opened. Opening it is a
// navigation, and so the right moment to make a session: the many requests that
// follow at once then share it.
const visits pazzo.Counter = "visits"

// about names an app to the page.
type about struct {
	Path  string `json:"path"`
	Title string `json:"title"`
}

// apps are those that take part in the storm, the first two in all that the page does.
func (s *site) apps() []about {
	list := []about{{"/mux", "net/http"}, {"/chi", "chi"}}
	for _, peer := range s.peers {
		list = append(list, about{"/" + peer.Name, peer.Title})
	}
	return list
}

// pageHandler serves the page and what it is made of.
func (s *site) pageHandler() http.Handler {
	web, err := fs.Sub(embedded, "web")
	if err != nil {
		panic(err) // the directory is part of the program
	}
	files := http.FileServerFS(web)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		if _, err := visits.Add(r.Context(), 1); err != nil {
			http.Error(w, err.Error(), pazzo.StatusCode(err))
			return
		}
		h := w.Header()
		h.Set("Content-Security-Policy", s.policy(r))
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		http.ServeFileFS(w, r, web, "index.html")
	})
	mux.HandleFunc("GET /config", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]any{
			"ports":     s.more,
			"perOrigin": perOrigin,
			"maxAtOnce": maxAtOnce,
			"maxTotal":  maxTotal,
			"writers":   raceWriters,
			"items":     items,
			"apps":      s.apps(),
		})
	})
	mux.HandleFunc("GET /{file}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-cache") // another version may run here next
		files.ServeHTTP(w, r)
	})
	return mux
}
