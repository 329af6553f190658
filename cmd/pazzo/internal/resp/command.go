package resp

// Command is what a client sent: at least one argument, the first of which is the
// command's name. It is part of its Reader's buffer, and so is good until the next
// Fill.
type Command struct {
	frame []byte
	spans []span
}

// span is where an argument is in the frame.
type span struct{ from, to uint32 }

// Len returns how many arguments there are, the name included.
func (c *Command) Len() int { return len(c.spans) }

// Arg returns an argument. Its bytes belong to the Reader.
func (c *Command) Arg(i int) []byte { return c.frame[c.spans[i].from:c.spans[i].to] }

// String returns a copy of an argument.
func (c *Command) String(i int) string { return string(c.Arg(i)) }

// Strings appends copies of the arguments from the index first to dst. They share
// one allocation.
func (c *Command) Strings(dst []string, first int) []string {
	if first >= len(c.spans) {
		return dst
	}
	base := c.spans[first].from
	all := string(c.frame[base:c.spans[len(c.spans)-1].to])
	for _, s := range c.spans[first:] {
		dst = append(dst, all[s.from-base:s.to-base])
	}
	return dst
}

// Size returns how many bytes the command took.
func (c *Command) Size() int { return len(c.frame) }
