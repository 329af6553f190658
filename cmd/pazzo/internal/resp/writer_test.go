package resp

import "testing"

func TestReplies(t *testing.T) {
	for _, c := range []struct {
		write        func(w *Writer)
		resp2, resp3 string
	}{
		{func(w *Writer) { w.Simple("OK") }, "+OK\r\n", "+OK\r\n"},
		{func(w *Writer) { w.Error("ERR a\r\nb") }, "-ERR a  b\r\n", "-ERR a  b\r\n"},
		{func(w *Writer) { w.Int(-12) }, ":-12\r\n", ":-12\r\n"},
		{func(w *Writer) { w.Bulk([]byte{0, '\r'}) }, "$2\r\n\x00\r\r\n", "$2\r\n\x00\r\r\n"},
		{func(w *Writer) { w.Text("") }, "$0\r\n\r\n", "$0\r\n\r\n"},
		{func(w *Writer) { w.Verbatim("a") }, "$1\r\na\r\n", "=5\r\ntxt:a\r\n"},
		{func(w *Writer) { w.Null() }, "$-1\r\n", "_\r\n"},
		{func(w *Writer) { w.Array(3) }, "*3\r\n", "*3\r\n"},
		{func(w *Writer) { w.Map(3) }, "*6\r\n", "%3\r\n"},
		{func(w *Writer) { w.Set(3) }, "*3\r\n", "~3\r\n"},
		{func(w *Writer) { w.Append([]byte("+x\r\n")); w.Int(1) }, "+x\r\n:1\r\n", "+x\r\n:1\r\n"},
	} {
		for _, resp3 := range []bool{false, true} {
			w := Writer{RESP3: resp3}
			c.write(&w)
			want := c.resp2
			if resp3 {
				want = c.resp3
			}
			if got := string(w.Bytes()); got != want || w.Len() != len(want) {
				t.Errorf("RESP3 %t: %q, want %q", resp3, got, want)
			}
		}
	}
}
