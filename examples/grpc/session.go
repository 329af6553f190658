// Package grpcsession shows sessions in gRPC and in Connect, where there are no
// cookies: an interceptor each, to be copied. The token travels in the metadata, by
// TLS of course, and its client keeps it as it would keep a password.
package grpcsession

import (
	"context"
	"errors"
	"net/http"

	"connectrpc.com/connect"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/pazzo-sessions/pazzo"
)

// TokenKey names the metadata with the token. In an answer, where it comes only when
// the token has changed, an empty one says that the session is over.
const TokenKey = "session-token"

// GRPC gives each unary call its session. A new token comes back in the trailer, which
// an error has as well.
func GRPC(m *pazzo.Manager) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, in any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (out any, err error) {
		sent := ""
		if values := metadata.ValueFromIncomingContext(ctx, TokenKey); len(values) > 0 {
			sent = values[0]
		}
		s, err := m.Acquire(sent)
		if err != nil {
			return nil, withCode(err)
		}
		out, err = handler(pazzo.NewContext(ctx, s), in)
		if token := s.Token(); token != sent {
			if problem := grpc.SetTrailer(ctx, metadata.Pairs(TokenKey, token)); err == nil {
				err = problem
			}
		}
		return out, withCode(err)
	}
}

// Connect gives each unary call its session. A new token comes back in the headers, or
// in the metadata of an error.
func Connect(m *pazzo.Manager) connect.UnaryInterceptorFunc {
	return func(next connect.UnaryFunc) connect.UnaryFunc {
		return func(ctx context.Context, in connect.AnyRequest) (connect.AnyResponse, error) {
			sent := in.Header().Get(TokenKey)
			s, err := m.Acquire(sent)
			if err != nil {
				return nil, asConnect(err)
			}
			out, err := next(pazzo.NewContext(ctx, s), in)
			token := s.Token()
			if err != nil {
				failure := asConnect(err)
				if token != sent {
					failure.Meta().Set(TokenKey, token)
				}
				return nil, failure
			}
			if token != sent {
				out.Header().Set(TokenKey, token)
			}
			return out, nil
		}
	}
}

// withCode gives an error its code, unless it has one.
func withCode(err error) error {
	if _, has := status.FromError(err); has {
		return err
	}
	return status.Error(codeOf(err), http.StatusText(pazzo.StatusCode(err)))
}

// asConnect is withCode for Connect, whose codes are those of gRPC.
func asConnect(err error) *connect.Error {
	var has *connect.Error
	if errors.As(err, &has) {
		return has
	}
	return connect.NewError(connect.Code(codeOf(err)), errors.New(http.StatusText(pazzo.StatusCode(err))))
}

func codeOf(err error) codes.Code {
	switch pazzo.StatusCode(err) {
	case http.StatusBadRequest:
		return codes.InvalidArgument
	case http.StatusForbidden:
		return codes.PermissionDenied
	case http.StatusConflict:
		return codes.Aborted
	case http.StatusRequestEntityTooLarge:
		return codes.ResourceExhausted
	case http.StatusServiceUnavailable:
		if !errors.Is(err, pazzo.ErrOutcomeUnknown) { // for gRPC repeats an Unavailable
			return codes.Unavailable
		}
	}
	if errors.Is(err, pazzo.ErrToken) {
		return codes.Unauthenticated
	}
	return codes.Unknown
}
