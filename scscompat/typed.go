package scscompat

import (
	"context"
	"time"
)

// as returns a value if it is a T, otherwise the zero T.
func as[T any](value any) T {
	v, _ := value.(T)
	return v
}

// GetString returns the value of a key, or "" if there is none or it is no string.
func (s *SessionManager) GetString(ctx context.Context, key string) string {
	return as[string](s.Get(ctx, key))
}

// GetBool returns the value of a key, or false if there is none or it is no bool.
func (s *SessionManager) GetBool(ctx context.Context, key string) bool {
	return as[bool](s.Get(ctx, key))
}

// GetInt returns the value of a key, or 0 if there is none or it is no int.
func (s *SessionManager) GetInt(ctx context.Context, key string) int {
	return as[int](s.Get(ctx, key))
}

// GetInt64 returns the value of a key, or 0 if there is none or it is no int64.
func (s *SessionManager) GetInt64(ctx context.Context, key string) int64 {
	return as[int64](s.Get(ctx, key))
}

// GetInt32 returns the value of a key, or 0 if there is none or it is no int32.
func (s *SessionManager) GetInt32(ctx context.Context, key string) int32 {
	return as[int32](s.Get(ctx, key))
}

// GetFloat returns the value of a key, or 0 if there is none or it is no float64.
func (s *SessionManager) GetFloat(ctx context.Context, key string) float64 {
	return as[float64](s.Get(ctx, key))
}

// GetBytes returns the value of a key, or nil if there is none or it is no []byte.
func (s *SessionManager) GetBytes(ctx context.Context, key string) []byte {
	return as[[]byte](s.Get(ctx, key))
}

// GetTime returns the value of a key, or the zero time if there is none or it is no time.Time.
func (s *SessionManager) GetTime(ctx context.Context, key string) time.Time {
	return as[time.Time](s.Get(ctx, key))
}

// PopString is Pop, with "" if there is no value or it is no string.
func (s *SessionManager) PopString(ctx context.Context, key string) string {
	return as[string](s.Pop(ctx, key))
}

// PopBool is Pop, with false if there is no value or it is no bool.
func (s *SessionManager) PopBool(ctx context.Context, key string) bool {
	return as[bool](s.Pop(ctx, key))
}

// PopInt is Pop, with 0 if there is no value or it is no int.
func (s *SessionManager) PopInt(ctx context.Context, key string) int {
	return as[int](s.Pop(ctx, key))
}

// PopFloat is Pop, with 0 if there is no value or it is no float64.
func (s *SessionManager) PopFloat(ctx context.Context, key string) float64 {
	return as[float64](s.Pop(ctx, key))
}

// PopBytes is Pop, with nil if there is no value or it is no []byte.
func (s *SessionManager) PopBytes(ctx context.Context, key string) []byte {
	return as[[]byte](s.Pop(ctx, key))
}

// PopTime is Pop, with the zero time if there is no value or it is no time.Time.
func (s *SessionManager) PopTime(ctx context.Context, key string) time.Time {
	return as[time.Time](s.Pop(ctx, key))
}
