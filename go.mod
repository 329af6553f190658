module github.com/pazzo-sessions/pazzo

go 1.25
