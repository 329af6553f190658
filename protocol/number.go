package protocol

const maxUint48 = 1<<48 - 1

func appendUint48(p []byte, v int64) []byte {
	return append(p, byte(v>>40), byte(v>>32), byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
}

// Uint48 reads the six bytes at the front of s.
func Uint48(s string) (v int64) {
	for i := range 6 {
		v = v<<8 | int64(s[i])
	}
	return v
}

func uint32At(s string, i int) uint32 {
	return uint32(s[i])<<24 | uint32(s[i+1])<<16 | uint32(s[i+2])<<8 | uint32(s[i+3])
}

func flag(set bool) byte {
	if set {
		return 1
	}
	return 0
}
