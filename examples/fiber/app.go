package main

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/gofiber/fiber/v3"
	recovery "github.com/gofiber/fiber/v3/middleware/recover"

	"github.com/pazzo-sessions/pazzo"
	"github.com/pazzo-sessions/pazzo/pazzofiber"
)

// newApp returns the app, with its sessions in the store of the manager.
func newApp(sessions *pazzo.Manager) *fiber.App {
	app := fiber.New(fiber.Config{
		Immutable:    true, // the names of fields are taken from requests
		ErrorHandler: answerError,
	})
	app.Use(recovery.New(), pazzofiber.Middleware(sessions))
	app.Get("/inc", inc)
	app.Get("/get", get)
	app.Get("/mix", mix)
	app.Get("/set", set)
	app.Get("/dump", dump)
	app.Get("/login", login)
	app.Get("/logout", logout)
	app.Get("/me", me)
	return app
}

// inc adds 1 to an integer field. No addition is lost, however many requests run
// at the same time.
func inc(c fiber.Ctx) error {
	n, err := pazzo.Counter(c.Query("k")).Add(c.Context(), 1)
	return answer(c, n, err)
}

// get prints a field of any type, or 0.
func get(c fiber.Ctx) error {
	text, found, err := pazzofiber.Session(c).Get(c.Context(), c.Query("k"))
	if !found {
		text = json.RawMessage("0")
	}
	return answer(c, string(text), err)
}

// mix reads five fields and writes a sixth.
func mix(c fiber.Ctx) error {
	var sum int64
	for _, field := range []pazzo.Counter{"f0", "f1", "f2", "f3", "f4"} {
		n, err := field.Get(c.Context())
		if err != nil {
			return err
		}
		sum += n
	}
	return answer(c, sum, pazzo.Counter(c.Query("k")).Set(c.Context(), sum+1))
}

// set gives a field any JSON value.
func set(c fiber.Ctx) error {
	value := c.Query("v")
	return answer(c, value, pazzofiber.Session(c).Set(c.Context(), c.Query("k"), json.RawMessage(value)))
}

// dump prints all fields as one JSON object.
func dump(c fiber.Ctx) error {
	all, err := pazzofiber.Session(c).All(c.Context())
	if err != nil {
		return err
	}
	fields := make(map[string]json.RawMessage)
	for name, text := range all {
		fields[name] = text
	}
	return c.JSON(fields)
}

// login logs the user in: the session keeps its fields and gets a new cookie.
func login(c fiber.Ctx) error {
	user := c.Query("user")
	if user == "" {
		return fiber.NewError(fiber.StatusBadRequest, "user is missing")
	}
	return answer(c, user, pazzofiber.Session(c).Authenticate(c.Context(), user))
}

// logout ends the session for good.
func logout(c fiber.Ctx) error {
	return answer(c, "", pazzofiber.Session(c).Destroy(c.Context()))
}

// me prints who is logged in, or nothing.
func me(c fiber.Ctx) error {
	user, err := pazzofiber.Session(c).User(c.Context())
	return answer(c, user, err)
}

// answer prints a value, or leaves the error to answerError.
func answer(c fiber.Ctx, value any, err error) error {
	if err != nil {
		return err
	}
	return c.SendString(fmt.Sprint(value))
}

// answerError says what went wrong. 409 says that the session has ended or that a
// login has replaced its cookie.
func answerError(c fiber.Ctx, err error) error {
	if pazzo.StatusCode(err) == fiber.StatusConflict {
		c.Status(fiber.StatusConflict)
		return nil
	}
	var other *fiber.Error
	if errors.As(err, &other) {
		c.Status(other.Code)
	} else {
		c.Status(fiber.StatusInternalServerError)
	}
	return c.SendString(err.Error())
}
