// Package compat is what the facades for other session libraries share: scscompat,
// gorillacompat and gincompat. It writes values of any Go type as fields and reads
// them back as the same type, and it gives sessions whose cookie the caller sends.
//
// New apps need none of it: see [pazzo.Key] and [pazzo.Manager.Handler].
package compat
