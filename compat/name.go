package compat

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/pazzo-sessions/pazzo"
	"github.com/pazzo-sessions/pazzo/record"
)

// keyPrefix is that of fields whose key has to be written as JSON.
const keyPrefix = "$key:"

// Name returns the name of the field for a key: that of a text is the text itself,
// that of another bool or number, and of the empty text, is "$key:" and what Encode
// makes of it. pazzo.ErrName is returned for a key of another type: its name would
// not be the same in every process.
func Name(key any) (string, error) {
	switch k := key.(type) {
	case string:
		if k != "" && !strings.HasPrefix(k, keyPrefix) {
			return k, record.CheckName(k, record.Limits{})
		}
	case bool, int, int8, int16, int32, int64, uint, uint8, uint16, uint32, uint64, float32, float64:
	default:
		return "", fmt.Errorf("%w: a key of type %T: use a string, a bool or a number", pazzo.ErrName, key)
	}
	text, err := Encode(key)
	if err != nil {
		return "", err
	}
	if strings.Contains(string(text), tagGob) { // NaN and infinities, and what is not UTF-8
		return "", fmt.Errorf("%w: a key that has no JSON form", pazzo.ErrName)
	}
	name := keyPrefix + string(text)
	return name, record.CheckName(name, record.Limits{})
}

// Key returns the key of a field: that of a name from another app is the name.
func Key(name string) any {
	text, isKey := strings.CutPrefix(name, keyPrefix)
	if !isKey {
		return name
	}
	key, err := Decode(json.RawMessage(text))
	if again, nameErr := Name(key); err != nil || nameErr != nil || again != name {
		return name
	}
	return key
}
