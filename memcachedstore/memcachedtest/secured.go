package memcachedtest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// User and Password are what a server wants that StartSecured has started.
const (
	User     = "app"
	Password = "open-sesame"
)

// secured is what makes a server one with TLS and a password.
type secured struct {
	dir    string // of files
	config *tls.Config
}

func (s *secured) file(name string) string { return filepath.Join(s.dir, name) }

// StartSecured is Start for a server with TLS and a password. Debian's memcached can do both.
func StartSecured(t testing.TB, args ...string) *Server {
	t.Helper()
	s, err := secure()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(s.dir) })
	ctx, cancel := context.WithTimeout(context.Background(), startDeadline)
	defer cancel()
	args = append(args, "-Y", s.file("users"), "-Z", "-o", "ssl_chain_cert="+s.file("server.pem")+",ssl_key="+s.file("server.key"))
	server, err := run(ctx, s, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Kill(); err != nil {
			t.Errorf("clean-up: %v", err)
		}
	})
	return server
}

// CAFile returns the file of the certificate that clients of a secured server trust.
func (s *Server) CAFile() string { return s.secured.file("server.pem") }

// secure writes the files, for anybody to read: the server is another user.
func secure() (*secured, error) {
	dir, err := os.MkdirTemp("", "memcachedtest")
	if err != nil {
		return nil, err
	}
	s := &secured{dir: dir}
	chain, key, err := certificate()
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	for name, text := range map[string][]byte{"server.pem": chain, "server.key": key, "users": []byte(User + ":" + Password + "\n")} {
		if err == nil {
			err = os.WriteFile(s.file(name), text, 0o644)
		}
	}
	if err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(chain)
	s.config = &tls.Config{RootCAs: pool, ServerName: "127.0.0.1"}
	return s, nil
}

// certificate makes one for 127.0.0.1, signed by itself, and its key.
func certificate() (chain, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	public, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		return nil, nil, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	encode := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	return encode("CERTIFICATE", public), encode("PRIVATE KEY", secret), nil
}
