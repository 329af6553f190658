package agent

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pazzo-sessions/pazzo/record"
	"github.com/pazzo-sessions/pazzo/redisstore"
)

// certify writes a certificate for 127.0.0.1 that signs itself, and its key.
func certify(t testing.TB, name, certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	about := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	cert, err := x509.CreateCertificate(rand.Reader, about, about, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	packed, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: cert}, keyFile: {Type: "PRIVATE KEY", Bytes: packed}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	certify(t, "first", cert, key)
	c := testConfig(t)
	c.Socket, c.Listen, c.TLSCert, c.TLSKey = "", freePort(t), cert, key
	c.PasswordFile = write(t, "password", "pw")
	a := start(t, c)

	store, err := redisstore.Open(t.Context(), "pazzos://:pw@"+c.Listen+"?ca="+cert, &redisstore.Options{Timeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	b := record.Batch{Ops: []record.Op{record.Create(record.NewSecret(), lasting)}}
	if reply, err := store.Apply(t.Context(), record.NewHandle(), &b); err != nil || reply.Status != record.OK {
		t.Error(reply.Status, err)
	}

	if name := presented(t, c.Listen); name != "first" {
		t.Errorf("the certificate is %s", name)
	}
	certify(t, "second", cert, key)
	if _, err := a.Reload(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if name := presented(t, c.Listen); name != "second" {
		t.Errorf("the certificate after a reload is %s", name)
	}
	// A client that speaks no TLS is let go.
	nc, err := net.Dial("tcp", c.Listen)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(patience))
	nc.Write([]byte("PING\r\n"))
	if n, err := nc.Read(make([]byte, 100)); err != nil && n == 0 && !isReset(err) && err.Error() != "EOF" {
		t.Error(err)
	}
	eventually(t, "it is noted", func() bool { return strings.Contains(a.log.String(), "TLS handshake failed") })
}

// A client without a certificate that was asked for learns so, and gets nothing.
func TestClientCertificates(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	certify(t, "both", cert, key)
	c := testConfig(t)
	c.Socket, c.Listen, c.TLSCert, c.TLSKey, c.TLSClientCA = "", freePort(t), cert, key, cert
	start(t, c)
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	for _, have := range [][]tls.Certificate{nil, {pair}} {
		nc, err := tls.Dial("tcp", c.Listen, &tls.Config{InsecureSkipVerify: true, Certificates: have})
		if err != nil {
			t.Fatal(err)
		}
		nc.SetDeadline(time.Now().Add(patience))
		nc.Write([]byte("PING\r\n"))
		reply := make([]byte, 7)
		n, err := nc.Read(reply)
		if let := err == nil && string(reply[:n]) == "+PONG\r\n"; let != (have != nil) {
			t.Errorf("with %d certificates: %q, %v", len(have), reply[:n], err)
		}
		nc.Close()
	}
}

// presented returns the name in the certificate that a server shows.
func presented(t *testing.T, addr string) string {
	nc, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	return nc.ConnectionState().PeerCertificates[0].Subject.CommonName
}

func freePort(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
