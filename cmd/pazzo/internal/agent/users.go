package agent

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
)

// user is who a connection acts for. It is never changed.
type user struct {
	name     string
	prefix   string // of the keys that the user may touch
	password [sha256.Size]byte
	open     bool // needs no password
}

// users are those that there are. It is never changed.
type users struct {
	byName map[string]*user
}

// defaultUser is who a connection is that gives no name.
const defaultUser = "default"

// loadUsers reads the files that c names. Without any, everybody may use the
// agent's prefix.
func loadUsers(c *Config) (*users, error) {
	if !c.authenticated() {
		return &users{map[string]*user{defaultUser: {name: defaultUser, prefix: c.Prefix, open: true}}}, nil
	}
	u := &users{map[string]*user{}}
	if c.UsersFile != "" {
		text, err := readFile("users", c.UsersFile)
		if err != nil {
			return nil, err
		}
		if err := u.parse(text, filepath.Dir(c.UsersFile)); err != nil {
			return nil, invalid("users", fmt.Sprintf("%s, %v", c.UsersFile, err))
		}
	}
	if c.PasswordFile != "" {
		if u.byName[defaultUser] != nil {
			return nil, invalid("password-file", "the users have one named default, with a password of its own")
		}
		sum, err := passwordIn("password-file", c.PasswordFile)
		if err != nil {
			return nil, err
		}
		u.byName[defaultUser] = &user{name: defaultUser, prefix: c.Prefix, password: sum}
	}
	return u, nil
}

// parse reads lines of a name, a prefix and a password, which is sha256: and the
// SHA-256 of it in hexadecimal, or file: and the path of a file, from dir, that holds
// it. Empty lines and those that begin with # do not count.
func (u *users) parse(text []byte, dir string) error {
	lines := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		words := strings.Fields(lines.Text())
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		if err := u.add(words, dir); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	if len(u.byName) == 0 {
		return errors.New("it has no users")
	}
	return nil
}

func (u *users) add(words []string, dir string) (err error) {
	if len(words) != 3 {
		return fmt.Errorf("%d words; a name, a prefix and a password are allowed", len(words))
	}
	one := &user{name: words[0], prefix: words[1]}
	if u.byName[one.name] != nil {
		return fmt.Errorf("%q is there twice", one.name)
	}
	if err := checkPrefix(one.prefix); err != nil {
		return fmt.Errorf("prefix %w", err)
	}
	kind, rest, _ := strings.Cut(words[2], ":")
	switch kind {
	case "sha256":
		sum, err := hex.DecodeString(rest)
		if err != nil || len(sum) != sha256.Size {
			return errors.New("after “sha256:”, 64 hexadecimal digits are allowed")
		}
		copy(one.password[:], sum)
	case "file":
		if !filepath.IsAbs(rest) {
			rest = filepath.Join(dir, rest)
		}
		if one.password, err = passwordIn("users", rest); err != nil {
			return err
		}
	default: // without the word, which may be the password itself
		return errors.New("the password must begin with “sha256:” or “file:”")
	}
	u.byName[one.name] = one
	return nil
}

// passwordIn returns the SHA-256 of the password in a file. A line feed at its end
// does not belong to it.
func passwordIn(setting, path string) (sum [sha256.Size]byte, err error) {
	text, err := readFile(setting, path)
	if err != nil {
		return sum, err
	}
	text = bytes.TrimRight(text, "\r\n")
	if len(text) == 0 {
		return sum, invalid(setting, path+" is empty; it must hold a password")
	}
	return sha256.Sum256(text), nil
}

// authenticate returns the user of that name and password, or nil. Names are no
// secret, but it takes as long for one that there is not.
func (u *users) authenticate(name, password []byte) *user {
	sum := sha256.Sum256(password)
	found := u.byName[string(name)]
	one := found
	if one == nil {
		one = &user{}
	}
	right := subtle.ConstantTimeCompare(sum[:], one.password[:]) == 1
	if found == nil || !right && !one.open {
		return nil
	}
	return found
}

// first returns who a new connection is, or nil if it must say so.
func (u *users) first() *user {
	if one := u.byName[defaultUser]; one != nil && one.open {
		return one
	}
	return nil
}

// still reports whether a user is there as before.
func (u *users) still(one *user) bool {
	now := u.byName[one.name]
	return now != nil && *now == *one
}

// prefixes returns those that users have, sorted.
func (u *users) prefixes() []string {
	set := map[string]bool{}
	for _, one := range u.byName {
		set[one.prefix] = true
	}
	return slices.Sorted(maps.Keys(set))
}
