//go:build race

package pazzo_test

const raceEnabled = true
