package gorillacompat

// Kept returns how many sessions the store knows of.
func (s *Store) Kept() (n int) {
	s.states.Range(func(any, any) bool { n++; return true })
	return n
}
