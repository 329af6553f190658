package agent

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"time"
)

// certificates are those for TCP. They are never changed.
type certificates struct {
	config *tls.Config
}

// loadCertificates reads the files that c names, or returns nil if there are none.
func loadCertificates(c *Config) (*certificates, error) {
	if c.TLSCert == "" {
		return nil, nil
	}
	pair, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey)
	if err != nil {
		return nil, invalid("tls-cert", err.Error())
	}
	config := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	if c.TLSClientCA != "" {
		pem, err := readFile("tls-client-ca", c.TLSClientCA)
		if err != nil {
			return nil, err
		}
		config.ClientCAs, config.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
		if !config.ClientCAs.AppendCertsFromPEM(pem) {
			return nil, invalid("tls-client-ca", "no certificate in "+c.TLSClientCA)
		}
	}
	return &certificates{config}, nil
}

// secure makes a listener speak TLS, with the certificates of the moment.
func (a *Agent) secure(l net.Listener) net.Listener {
	return tls.NewListener(l, &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			if c := a.settings().tls; c != nil {
				return c.config, nil
			}
			return nil, errors.New("there is no certificate")
		},
	})
}

// refuseTimeout bounds the telling of a client that there is no room for it.
const refuseTimeout = 100 * time.Millisecond

// refuseConnection closes a connection and says why, unless that would take a
// handshake.
func refuseConnection(nc net.Conn) {
	defer nc.Close()
	if _, secure := nc.(*tls.Conn); secure {
		return
	}
	nc.SetWriteDeadline(time.Now().Add(refuseTimeout))
	nc.Write([]byte("-ERR max number of clients reached\r\n"))
}
