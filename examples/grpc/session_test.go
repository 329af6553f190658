package grpcsession_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	pb "google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/pazzo-sessions/pazzo"
	grpcsession "github.com/pazzo-sessions/pazzo/examples/grpc"
	"github.com/pazzo-sessions/pazzo/memstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// do is the method of the service: it adds to the field that it is given, logs in or
// out.
func do(ctx context.Context, in *pb.StringValue) (*pb.Int64Value, error) {
	s := pazzo.FromContext(ctx)
	switch in.Value {
	case "login":
		return &pb.Int64Value{}, s.Authenticate(ctx, "ann")
	case "logout":
		return &pb.Int64Value{}, s.Destroy(ctx)
	}
	n, err := pazzo.Counter(in.Value).Add(ctx, 1)
	return &pb.Int64Value{Value: n}, err
}

const method = "/example.Service/Do"

// service is what protoc would write.
var service = grpc.ServiceDesc{ServiceName: "example.Service", HandlerType: (*any)(nil), Methods: []grpc.MethodDesc{{
	MethodName: "Do",
	Handler: func(srv any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
		in := new(pb.StringValue)
		if err := decode(in); err != nil {
			return nil, err
		}
		handler := func(ctx context.Context, in any) (any, error) { return do(ctx, in.(*pb.StringValue)) }
		return intercept(ctx, in, &grpc.UnaryServerInfo{Server: srv, FullMethod: method}, handler)
	},
}}}

// call calls the service with a token and returns the one to use from then on.
type call func(token, what string) (n int64, next string, err error)

// overGRPC starts the service.
func overGRPC(m *pazzo.Manager) (c call, stop func(), err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	server := grpc.NewServer(grpc.UnaryInterceptor(grpcsession.GRPC(m)))
	server.RegisterService(&service, nil)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	stop = func() {
		conn.Close()
		server.Stop()
		<-ended
	}
	return func(token, what string) (int64, string, error) {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		ctx = metadata.AppendToOutgoingContext(ctx, grpcsession.TokenKey, token)
		var trailer metadata.MD
		out := new(pb.Int64Value)
		err := conn.Invoke(ctx, method, &pb.StringValue{Value: what}, out, grpc.Trailer(&trailer))
		if changed := trailer.Get(grpcsession.TokenKey); len(changed) > 0 {
			token = changed[0]
		}
		return out.Value, token, err
	}, stop, err
}

// overConnect starts the service.
func overConnect(m *pazzo.Manager) (c call, stop func(), err error) {
	mux := http.NewServeMux()
	mux.Handle(method, connect.NewUnaryHandler(method, func(ctx context.Context, in *connect.Request[pb.StringValue]) (*connect.Response[pb.Int64Value], error) {
		out, err := do(ctx, in.Msg)
		return connect.NewResponse(out), err
	}, connect.WithInterceptors(grpcsession.Connect(m))))
	server := httptest.NewServer(mux)
	client := connect.NewClient[pb.StringValue, pb.Int64Value](server.Client(), server.URL+method)
	return func(token, what string) (int64, string, error) {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		in := connect.NewRequest(&pb.StringValue{Value: what})
		in.Header().Set(grpcsession.TokenKey, token)
		out, err := client.CallUnary(ctx, in)
		if err != nil {
			return 0, token, err
		}
		if changed := out.Header()[http.CanonicalHeaderKey(grpcsession.TokenKey)]; len(changed) > 0 {
			token = changed[0]
		}
		return out.Msg.Value, token, nil
	}, server.Close, nil
}

func newManager() (m *pazzo.Manager, closeStore func() error, err error) {
	store := memstore.New(nil)
	m, err = pazzo.New(store, &pazzo.Options{SecretKeys: []string{"an example key of at least 32 bytes"}})
	return m, store.Close, err
}

func Example() {
	sessions, closeStore, err := newManager()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer closeStore()
	call, stop, err := overGRPC(sessions)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer stop()
	_, token, _ := call("", "visits") // a first visit makes a session
	n, _, _ := call(token, "visits")
	fmt.Println(n, "visits")
	_, renewed, _ := call(token, "login") // a login renews the token
	_, _, err = call(token, "visits")
	fmt.Println("the old token:", status.Code(err))
	n, _, _ = call(renewed, "visits")
	fmt.Println(n, "visits")
	_, over, _ := call(renewed, "logout")
	fmt.Printf("after the logout: %q\n", over)
	// Output:
	// 2 visits
	// the old token: Aborted
	// 3 visits
	// after the logout: ""
}

func TestSessions(t *testing.T) {
	for name, start := range map[string]func(*pazzo.Manager) (call, func(), error){"gRPC": overGRPC, "Connect": overConnect} {
		t.Run(name, func(t *testing.T) {
			m, closeStore, err := newManager()
			if err != nil {
				t.Fatal(err)
			}
			defer closeStore()
			call, stop, err := start(m)
			if err != nil {
				t.Fatal(err)
			}
			defer stop()
			sessions(t, call)
		})
	}
}

func sessions(t *testing.T, call call) {
	want := func(token, what string, n int64, code codes.Code) (next string) {
		t.Helper()
		got, next, err := call(token, what)
		if got != n || codeOf(err) != code {
			t.Errorf("%s: %d, %v; want %d, %v", what, got, err, n, code)
		}
		return next
	}
	token := want("", "n", 1, codes.OK)
	want(token, "n", 2, codes.OK)
	want(token, "", 0, codes.InvalidArgument)
	want("forged", "n", 0, codes.Unauthenticated)
	var all sync.WaitGroup
	for range 1000 {
		all.Go(func() {
			if _, _, err := call(token, "n"); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	renewed := want(token, "login", 0, codes.OK)
	if renewed == token {
		t.Error("the login has not renewed the token")
	}
	if kept := want(token, "n", 0, codes.Aborted); kept != token {
		t.Error("a superseded token has been replaced")
	}
	want(renewed, "n", 1003, codes.OK)
	if over := want(renewed, "logout", 0, codes.OK); over != "" {
		t.Error("the logout leaves a token")
	}
}

// codeOf returns an error's code in either of the two, which number them alike.
func codeOf(err error) codes.Code {
	if code := connect.CodeOf(err); err != nil && status.Code(err) == codes.Unknown {
		return codes.Code(code)
	}
	return status.Code(err)
}
