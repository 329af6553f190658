package main

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/labstack/echo/v5"
	"github.com/labstack/echo/v5/middleware"

	"github.com/pazzo-sessions/pazzo"
	"github.com/pazzo-sessions/pazzo/pazzoecho"
)

// newApp returns the app, with its sessions in the store of the manager.
func newApp(sessions *pazzo.Manager) *echo.Echo {
	e := echo.New()
	e.HTTPErrorHandler = answerError
	e.Use(middleware.Recover(), pazzoecho.Middleware(sessions))
	e.GET("/inc", inc)
	e.GET("/get", get)
	e.GET("/mix", mix)
	e.GET("/set", set)
	e.GET("/dump", dump)
	e.GET("/login", login)
	e.GET("/logout", logout)
	e.GET("/me", me)
	return e
}

// inc adds 1 to an integer field. No addition is lost, however many requests run
// at the same time.
func inc(c *echo.Context) error {
	n, err := pazzo.Counter(c.QueryParam("k")).Add(c.Request().Context(), 1)
	return answer(c, n, err)
}

// get prints a field of any type, or 0.
func get(c *echo.Context) error {
	text, found, err := pazzoecho.Session(c).Get(c.Request().Context(), c.QueryParam("k"))
	if !found {
		text = json.RawMessage("0")
	}
	return answer(c, string(text), err)
}

// mix reads five fields and writes a sixth.
func mix(c *echo.Context) error {
	ctx := c.Request().Context()
	var sum int64
	for _, field := range []pazzo.Counter{"f0", "f1", "f2", "f3", "f4"} {
		n, err := field.Get(ctx)
		if err != nil {
			return err
		}
		sum += n
	}
	return answer(c, sum, pazzo.Counter(c.QueryParam("k")).Set(ctx, sum+1))
}

// set gives a field any JSON value.
func set(c *echo.Context) error {
	value := c.QueryParam("v")
	err := pazzoecho.Session(c).Set(c.Request().Context(), c.QueryParam("k"), json.RawMessage(value))
	return answer(c, value, err)
}

// dump prints all fields as one JSON object.
func dump(c *echo.Context) error {
	all, err := pazzoecho.Session(c).All(c.Request().Context())
	if err != nil {
		return err
	}
	fields := make(map[string]json.RawMessage)
	for name, text := range all {
		fields[name] = text
	}
	object, err := json.Marshal(fields)
	if err != nil {
		return err
	}
	return c.JSONBlob(http.StatusOK, object)
}

// login logs the user in: the session keeps its fields and gets a new cookie.
func login(c *echo.Context) error {
	user := c.QueryParam("user")
	if user == "" {
		return echo.NewHTTPError(http.StatusBadRequest, "user is missing")
	}
	return answer(c, user, pazzoecho.Session(c).Authenticate(c.Request().Context(), user))
}

// logout ends the session for good.
func logout(c *echo.Context) error {
	return answer(c, "", pazzoecho.Session(c).Destroy(c.Request().Context()))
}

// me prints who is logged in, or nothing.
func me(c *echo.Context) error {
	user, err := pazzoecho.Session(c).User(c.Request().Context())
	return answer(c, user, err)
}

// answer prints a value, or leaves the error to answerError.
func answer(c *echo.Context, value any, err error) error {
	if err != nil {
		return err
	}
	return c.String(http.StatusOK, fmt.Sprint(value))
}

// answerError says what went wrong. 409 says that the session has ended or that a
// login has replaced its cookie.
func answerError(c *echo.Context, err error) {
	if echo.StatusCode(err) == http.StatusConflict {
		c.NoContent(http.StatusConflict)
		return
	}
	echo.DefaultHTTPErrorHandler(true)(c, err)
}
