package gincompat_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/gin-contrib/sessions"
	"github.com/gin-contrib/sessions/cookie"
	"github.com/gin-gonic/gin"
)

// moveOver is middleware ahead of sessions.Sessions that copies a session of the old
// store; as docs/migration.md has it.
func moveOver(old, store sessions.Store) gin.HandlerFunc {
	return func(c *gin.Context) {
		before, err := old.Get(c.Request, "old")
		if err != nil || before.IsNew {
			return // it does not decode, or there is none
		}
		session, err := store.Get(c.Request, "mysession")
		if err == nil && session.IsNew {
			for key, value := range before.Values {
				session.Values[key] = value
			}
			err = session.Save(c.Request, c.Writer)
		}
		if err == nil {
			before.Options.MaxAge = -1
			err = before.Save(c.Request, c.Writer)
		}
		if err != nil {
			_ = c.AbortWithError(http.StatusServiceUnavailable, err)
		}
	}
}

// TestMoveOver: a user who is logged in stays so, and the old session ends.
func TestMoveOver(t *testing.T) {
	old, store := cookie.NewStore([]byte("0123456789abcdef0123456789abcdef")), newStore(t)
	old.Options(sessions.Options{Path: "/", MaxAge: 3600})
	app := gin.New()
	app.GET("/old", sessions.Sessions("old", old), func(c *gin.Context) {
		session := sessions.Default(c)
		session.Set("user", 7)
		if err := session.Save(); err != nil {
			t.Error(err)
		}
	})
	app.GET("/me", moveOver(old, store), sessions.Sessions("mysession", store), func(c *gin.Context) {
		c.String(http.StatusOK, fmt.Sprint(sessions.Default(c).Get("user")))
	})
	server := httptest.NewServer(app)
	defer server.Close()
	jar, _ := cookiejar.New(nil)
	client := &http.Client{Jar: jar, Timeout: 30 * time.Second, Transport: server.Client().Transport}
	for _, step := range [...]struct{ path, want string }{{"/old", ""}, {"/me", "7"}, {"/me", "7"}} {
		response, err := client.Get(server.URL + step.path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || string(body) != step.want {
			t.Errorf("%s: %s, %v; want %s", step.path, body, err, step.want)
		}
	}
	address, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range jar.Cookies(address) {
		if c.Name == "old" {
			t.Error("the old cookie is still there")
		}
	}
}
