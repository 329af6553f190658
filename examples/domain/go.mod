module github.com/pazzo-sessions/pazzo/examples/domain

go 1.25.0
