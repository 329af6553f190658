// Package record holds the semantics of a Pazzo session: what a session is,
// what can be done to it, and what every operation answers. It is written for
// authors of stores; apps use package pazzo.
//
// # The record and the batch
//
// A session is a [Record]: meta data ([Meta]) and independent fields, each a
// name and a JSON text. There is one way to use it: apply one [Batch], that is
// an [Access] (who asks), conditions, and operations, all of it or none. The
// answer is a [Reply]. [Record.Apply] is that function, pure and deterministic:
// the time is a parameter, and so is every random secret.
//
// # The index
//
// The sessions of one user are listed in an [Index], which a store keeps apart
// from the records. [Index.Apply] applies one [IndexStep] to it.
//
// # Writing a store
//
// A [Store] that keeps one value per session needs no semantics of its own:
//
//	var r record.Record
//	if err := r.Decode(value); err != nil { … }   // "" is an absent record
//	reply, changed := r.Apply(batch, now)
//	if changed {
//		value = string(r.Append(nil))             // keep until r.Expires()
//	}
//
// Decode, Apply and storing the new value must be one atomic step for each
// session. A store whose server applies batches itself (Redis, by a script)
// must answer every batch exactly as Apply does; package storetest and the
// differential test in verify/ hold it to that.
//
// # Texts
//
// Field values are JSON texts without insignificant white space. A store never
// parses or re-encodes them: conditions compare bytes, and append splices text.
// Whoever builds a batch checks the values first, with [CheckJSON].
package record
