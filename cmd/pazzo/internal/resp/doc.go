// Package resp is the server's end of the Redis serialization protocol, RESP2 and
// RESP3: a [Reader] of commands and a [Writer] of replies.
//
// A client's claims cost nothing: memory is taken as the bytes arrive. An idle
// connection holds no more than one small buffer.
package resp
