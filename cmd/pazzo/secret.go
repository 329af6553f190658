package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
)

func secretCommand(_ context.Context, p *program) error {
	if err := p.parse("secret", nil); err != nil {
		return err
	}
	_, err := fmt.Fprintln(p.stdout, newSecret())
	return err
}

// newSecret returns a secret key: 32 random bytes as 43 characters that need no
// quoting in a shell, a URL or a file of settings.
func newSecret() string {
	var key [32]byte
	rand.Read(key[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(key[:])
}
