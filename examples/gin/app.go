package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/pazzo-sessions/pazzo"
	"github.com/pazzo-sessions/pazzo/pazzogin"
)

// newApp returns the app, with its sessions in the store of the manager.
func newApp(sessions *pazzo.Manager) *gin.Engine {
	router := gin.New()
	router.Use(gin.Recovery(), answerErrors, pazzogin.Middleware(sessions))
	router.GET("/inc", inc)
	router.GET("/get", get)
	router.GET("/mix", mix)
	router.GET("/set", set)
	router.GET("/dump", dump)
	router.GET("/login", login)
	router.GET("/logout", logout)
	router.GET("/me", me)
	return router
}

// inc adds 1 to an integer field. No addition is lost, however many requests run
// at the same time.
func inc(c *gin.Context) {
	n, err := pazzo.Counter(c.Query("k")).Add(c.Request.Context(), 1)
	answer(c, n, err)
}

// get prints a field of any type, or 0.
func get(c *gin.Context) {
	text, found, err := pazzogin.Session(c).Get(c.Request.Context(), c.Query("k"))
	if !found {
		text = json.RawMessage("0")
	}
	answer(c, string(text), err)
}

// mix reads five fields and writes a sixth.
func mix(c *gin.Context) {
	ctx := c.Request.Context()
	var sum int64
	for _, field := range []pazzo.Counter{"f0", "f1", "f2", "f3", "f4"} {
		n, err := field.Get(ctx)
		if err != nil {
			pazzogin.Abort(c, err)
			return
		}
		sum += n
	}
	answer(c, sum, pazzo.Counter(c.Query("k")).Set(ctx, sum+1))
}

// set gives a field any JSON value.
func set(c *gin.Context) {
	value := c.Query("v")
	answer(c, value, pazzogin.Session(c).Set(c.Request.Context(), c.Query("k"), json.RawMessage(value)))
}

// dump prints all fields as one JSON object.
func dump(c *gin.Context) {
	all, err := pazzogin.Session(c).All(c.Request.Context())
	if err != nil {
		pazzogin.Abort(c, err)
		return
	}
	fields := make(map[string]json.RawMessage)
	for name, text := range all {
		fields[name] = text
	}
	c.JSON(http.StatusOK, fields)
}

// login logs the user in: the session keeps its fields and gets a new cookie.
func login(c *gin.Context) {
	user := c.Query("user")
	if user == "" {
		c.String(http.StatusBadRequest, "user is missing")
		return
	}
	answer(c, user, pazzogin.Session(c).Authenticate(c.Request.Context(), user))
}

// logout ends the session for good.
func logout(c *gin.Context) {
	answer(c, "", pazzogin.Session(c).Destroy(c.Request.Context()))
}

// me prints who is logged in, or nothing.
func me(c *gin.Context) {
	user, err := pazzogin.Session(c).User(c.Request.Context())
	answer(c, user, err)
}

// answer prints a value, or leaves the error to answerErrors.
func answer(c *gin.Context, value any, err error) {
	if err != nil {
		pazzogin.Abort(c, err)
		return
	}
	c.String(http.StatusOK, fmt.Sprint(value))
}

// answerErrors says what went wrong. 409 says that the session has ended or that a
// login has replaced its cookie.
func answerErrors(c *gin.Context) {
	c.Next()
	if last := c.Errors.Last(); last != nil && !errors.Is(last, pazzo.ErrGone) && !errors.Is(last, pazzo.ErrSuperseded) {
		c.String(-1, last.Error())
	}
}
