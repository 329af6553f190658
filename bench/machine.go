package main

import (
	"os"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
)

// machine is what the figures were taken on.
type machine struct {
	cpu   string
	cores int
	goes  string  // the Go version
	redis string  // "" if none was needed
	load  float64 // before the run
}

func describeMachine() machine {
	return machine{cpu: cpuModel(), cores: runtime.NumCPU(), goes: strings.TrimPrefix(runtime.Version(), "go"), load: load()}
}

// cpuModel reads the processor's name where Linux tells it.
func cpuModel() string {
	info, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(info)) {
		if name, value, found := strings.Cut(line, ":"); found && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

func (m machine) String() string {
	s := m.cpu + ", " + strconv.Itoa(m.cores) + " cores, " + runtime.GOOS + ", Go " + m.goes
	if m.redis != "" {
		s += ", " + m.redis
	}
	return s
}

// load is the number of programs that want a processor, averaged over the last
// minute, where Linux tells it; else -1.
func load() float64 {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return -1
	}
	first, _, _ := strings.Cut(string(text), " ")
	v, err := strconv.ParseFloat(first, 64)
	if err != nil {
		return -1
	}
	return v
}

// busy warns if others used the machine when the run began.
func (m machine) busy() string {
	if m.load <= 0.5 {
		return ""
	}
	return "The machine was busy with other things (load " + strconv.FormatFloat(m.load, 'f', 1, 64) +
		" at the start): figures of wall time are unreliable, those by CPU time less so."
}

// profileTo starts a CPU profile, if a file is named.
func profileTo(name string) (end func(), err error) {
	if name == "" {
		return func() {}, nil
	}
	file, err := os.Create(name)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(file); err != nil {
		file.Close()
		return nil, err
	}
	return func() {
		pprof.StopCPUProfile()
		file.Close()
	}, nil
}

// thousands prints a whole number with commas.
func thousands(v float64) string {
	digits := strconv.FormatInt(int64(v+0.5), 10)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
