package node

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"strings"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/security"
	"github.com/bartizan-vms/bartizan/security/authentication"
)

// PeopleConfig is how people come in.
type PeopleConfig struct {
	ApproveDevices bool `yaml:"approve_devices"`
}

// OIDCConfig is the company's OpenID provider; without an issuer there is none.
type OIDCConfig struct {
	Issuer         string     `yaml:"issuer"`
	ClientID       string     `yaml:"client_id"`
	SecretFile     string     `yaml:"client_secret_file"`
	CAFile         string     `yaml:"ca_file"`
	Name           string     `yaml:"name"`
	AllowedDomains []string   `yaml:"allowed_domains"`
	Create         string     `yaml:"create"`
	Roles          []OIDCRole `yaml:"roles"`
}

// OIDCRole gives a role by what the provider says of somebody.
type OIDCRole struct {
	Claim string `yaml:"claim"`
	Value string `yaml:"value"`
	Role  string `yaml:"role"`
}

// company is the configured OpenID provider; nil for none.
func (n *Node) company(people *authentication.Service) (security.Company, error) {
	o := n.cfg.OIDC
	if o.Issuer == "" {
		return nil, nil
	}
	c := authentication.CompanyConfig{Issuer: o.Issuer, ClientID: o.ClientID, Title: o.Name, Domains: o.AllowedDomains, Create: o.Create}
	for _, r := range o.Roles {
		c.Roles = append(c.Roles, authentication.ClaimRole{Claim: r.Claim, Value: r.Value, Role: security.Role(r.Role)})
	}
	if o.SecretFile != "" {
		b, err := os.ReadFile(o.SecretFile)
		if err != nil {
			return nil, fault.Wrap(fault.Invalid, err, "oidc.client_secret_file cannot be read", "let this user, and nobody else, read it")
		}
		c.ClientSecret = security.Secret(strings.TrimSpace(string(b)))
	}
	if o.CAFile != "" {
		b, err := os.ReadFile(o.CAFile)
		if err == nil {
			if c.Roots, err = x509.SystemCertPool(); err != nil {
				c.Roots, err = x509.NewCertPool(), nil
			}
		}
		if err != nil || !c.Roots.AppendCertsFromPEM(b) {
			return nil, fault.Wrap(fault.Invalid, err, "oidc.ca_file holds no certificate that can be read", "give a file in PEM")
		}
	}
	company, err := authentication.NewCompany(people, c)
	if err != nil {
		return nil, err
	}
	return company, nil
}

// clients is what the console's port asks of those who come.
func (n *Node) clients(c *tls.Config, d *authentication.Devices) *tls.Config {
	if n.cfg.TLS.Clients == "off" {
		return c
	}
	return d.Ask(c, n.cfg.TLS.Clients == "require")
}
