module github.com/pazzo-sessions/pazzo/examples/grpc

go 1.25.0

require (
	connectrpc.com/connect v1.20.0
	github.com/pazzo-sessions/pazzo v0.0.0
	go.uber.org/goleak v1.3.0
	google.golang.org/grpc v1.82.1
	google.golang.org/protobuf v1.36.11
)

require (
	golang.org/x/net v0.53.0 // indirect
	golang.org/x/sys v0.43.0 // indirect
	golang.org/x/text v0.36.0 // indirect
	google.golang.org/genproto/googleapis/rpc v0.0.0-20260414002931-afd174a4e478 // indirect
)

replace github.com/pazzo-sessions/pazzo => ../..
