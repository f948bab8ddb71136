package onvif

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/md5"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"math/big"
	"net"
	"testing"
	"time"
)

func digestSum(alg string) func(string) string {
	return func(s string) string {
		if alg == "MD5" {
			h := md5.Sum([]byte(s))
			return hex.EncodeToString(h[:])
		}
		h := sha256.Sum256([]byte(s))
		return hex.EncodeToString(h[:])
	}
}

// TestACertificateOfOursIsServed has the device make a key, signs its request
// with a CA of ours, and dials HTTPS and RTSPS trusting that CA alone.
func TestACertificateOfOursIsServed(t *testing.T) {
	d := liveDevice(t, Config{})
	c := newClient(t, d)
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "our CA"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, caKey.Public(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	ca, _ := x509.ParseCertificate(der)
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	dial := func(port int) error {
		conn, err := tls.Dial("tcp", net.JoinHostPort("127.0.0.1", itoa(port)), &tls.Config{RootCAs: roots})
		if err == nil {
			conn.Close()
		}
		return err
	}
	if dial(d.Ports().HTTPS) == nil {
		t.Fatal("the factory's certificate is ours")
	}
	for _, how := range []string{"tas:CreateECCKeyPair", "tas:CreateRSAKeyPair"} {
		inner := "<tas:EllipticCurve>P-256</tas:EllipticCurve><tas:Alias>vms</tas:Alias>"
		if how == "tas:CreateRSAKeyPair" {
			inner = "<tas:KeyLength>2048</tas:KeyLength>"
		}
		id := c.ask(how, inner).str("KeyID")
		if got := c.ask("tas:GetKeyStatus", "<tas:KeyID>"+id+"</tas:KeyID>").str("KeyStatus"); got != "ok" {
			t.Errorf("the key is %q", got)
		}
		raw, err := base64.StdEncoding.DecodeString(c.ask("tas:CreatePKCS10CSR", "<tas:Subject><tas:CommonName>camera 7</tas:CommonName><tas:Organization>Site</tas:Organization></tas:Subject><tas:KeyID>"+id+"</tas:KeyID>").str("PKCS10CSR"))
		if err != nil {
			t.Fatal(err)
		}
		csr, err := x509.ParseCertificateRequest(raw)
		if err != nil || csr.CheckSignature() != nil || csr.Subject.CommonName != "camera 7" {
			t.Fatalf("the request: %v %+v", err, csr)
		}
		leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: csr.Subject, IPAddresses: csr.IPAddresses, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
		der, err := x509.CreateCertificate(rand.Reader, leaf, ca, csr.PublicKey, caKey)
		if err != nil {
			t.Fatal(err)
		}
		up := c.ask("tas:UploadCertificate", "<tas:Certificate>"+base64.StdEncoding.EncodeToString(der)+"</tas:Certificate><tas:PrivateKeyRequired>true</tas:PrivateKeyRequired>")
		if up.str("KeyID") != id {
			t.Errorf("the certificate is of key %q, want %q", up.str("KeyID"), id)
		}
		p := c.ask("tas:CreateCertificationPath", "<tas:CertificateIDs><tas:CertificateID>"+up.str("CertificateID")+"</tas:CertificateID></tas:CertificateIDs>").str("CertificationPathID")
		old := c.ask("tas:GetAssignedServerCertificates", "").str("CertificationPathID")
		c.ask("tas:ReplaceServerCertificateAssignment", "<tas:OldCertificationPathID>"+old+"</tas:OldCertificationPathID><tas:NewCertificationPathID>"+p+"</tas:NewCertificationPathID>")
		for _, port := range []int{d.Ports().HTTPS, d.Ports().RTSPS} {
			if err := dial(port); err != nil {
				t.Errorf("%s, port %d: %v", how, port, err)
			}
		}
		if got := c.refused("tas:DeleteKey", "<tas:KeyID>"+id+"</tas:KeyID>"); got != "ter:ReferenceExists" {
			t.Errorf("a key in use is deleted: %q", got)
		}
	}
	// A certificate of a key that is not here is no use.
	strange, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, caKey.Public(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.refused("tas:UploadCertificate", "<tas:Certificate>"+base64.StdEncoding.EncodeToString(strange)+"</tas:Certificate><tas:PrivateKeyRequired>true</tas:PrivateKeyRequired>"); got != "ter:NoMatchingPrivateKey" {
		t.Errorf("a stranger's certificate: %q", got)
	}
	c.ask("tas:SetEnabledTLSVersions", "<tas:Versions>1.3</tas:Versions>")
	if conn, err := tls.Dial("tcp", net.JoinHostPort("127.0.0.1", itoa(d.Ports().HTTPS)), &tls.Config{RootCAs: roots, MaxVersion: tls.VersionTLS12}); err == nil {
		conn.Close()
		t.Error("TLS 1.2 was switched off and is spoken")
	}
}
