package node

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/vms"
)

// DefaultConfig is the configuration file with every key and its default.
//
//go:embed config.yaml
var DefaultConfig []byte

// Config is everything that can be set. config.yaml says what each key means.
type Config struct {
	Data      string          `yaml:"data"`
	Listen    string          `yaml:"listen"`
	Names     []string        `yaml:"names"`
	TLS       TLSConfig       `yaml:"tls"`
	People    PeopleConfig    `yaml:"people"`
	OIDC      OIDCConfig      `yaml:"oidc"`
	Demo      bool            `yaml:"demo"`
	Cameras   CameraConfig    `yaml:"cameras"`
	Storage   StorageConfig   `yaml:"storage"`
	RTSP      RTSPConfig      `yaml:"rtsp"`
	WebRTC    WebRTCConfig    `yaml:"webrtc"`
	Audit     AuditConfig     `yaml:"audit"`
	Keys      KeysConfig      `yaml:"keys"`
	Intrusion IntrusionConfig `yaml:"intrusion"`
	Log       LogConfig       `yaml:"log"`
}

// TLSConfig is the operator's own certificate.
type TLSConfig struct {
	Certificate string `yaml:"certificate"`
	Key         string `yaml:"key"`
	Clients     string `yaml:"clients"`
}

// CameraConfig is what new cameras begin with.
type CameraConfig struct {
	RecordMain  bool    `yaml:"record_main"`
	RecordSub   bool    `yaml:"record_sub"`
	RecordAudio bool    `yaml:"record_audio"`
	KeepDays    float64 `yaml:"keep_days"`
	KeepBytes   int64   `yaml:"keep_bytes"`
}

// Record is the default for new cameras.
func (c CameraConfig) Record() vms.Record {
	return vms.Record{Main: c.RecordMain, Sub: c.RecordSub, Audio: c.RecordAudio}
}

// Keep is the default for new cameras.
func (c CameraConfig) Keep() vms.Keep {
	return vms.Keep{Age: time.Duration(c.KeepDays * float64(24*time.Hour)), Bytes: c.KeepBytes}
}

// StorageConfig bounds the storage server.
type StorageConfig struct {
	MinFreePercent float64 `yaml:"min_free_percent"`
	MaxBytes       int64   `yaml:"max_bytes"`
}

// RTSPConfig says where viewers pull.
type RTSPConfig struct {
	Secure string `yaml:"secure"`
	Clear  string `yaml:"clear"`
}

// WebRTCConfig says where WebRTC answers.
type WebRTCConfig struct {
	Listen    string   `yaml:"listen"`
	Addresses []string `yaml:"addresses"`
}

// LogConfig shapes the log.
type LogConfig struct {
	Level  string `yaml:"level"`
	Format string `yaml:"format"`
}

// Default is the configuration with nothing set.
func Default() Config {
	c, err := Parse(nil, "")
	if err != nil {
		panic(err) // config.yaml is ours and tested
	}
	return c
}

// Load reads a configuration file; "" gives the defaults.
func Load(path string) (Config, error) {
	if path == "" {
		return Default(), nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fault.Wrap(fault.Invalid, err, "the configuration file cannot be read", "check the path given with --config")
	}
	return Parse(b, path)
}

// Parse reads a configuration over the defaults. All faults of form are told
// at once; Check tells those of meaning.
func Parse(b []byte, name string) (Config, error) {
	var c Config
	if err := yaml.Unmarshal(DefaultConfig, &c); err != nil {
		return c, err
	}
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	err := d.Decode(&c)
	var wrong *yaml.TypeError
	switch {
	case errors.Is(err, io.EOF) || err == nil:
		return c, nil
	case errors.As(err, &wrong):
		lines := make([]string, len(wrong.Errors))
		for i, l := range wrong.Errors {
			l = strings.ReplaceAll(l, "not found in type node.", "is not a key of ")
			for _, part := range []string{"Config", "CameraConfig", "StorageConfig", "RTSPConfig", "WebRTCConfig", "TLSConfig", "AuditConfig", "SyslogConfig", "KeysConfig", "PKCS11Config", "IntrusionConfig", "LogConfig", "PeopleConfig", "OIDCConfig", "OIDCRole"} {
				l = strings.TrimSuffix(l, " of "+part)
			}
			l = strings.ReplaceAll(l, "field ", "")
			lines[i] = fmt.Sprintf("%s: %s", name, l)
		}
		return c, fault.New(fault.Invalid, "the configuration is wrong:\n  "+strings.Join(lines, "\n  "), "`bartizan config` prints every key with its default")
	default:
		return c, fault.New(fault.Invalid, fmt.Sprintf("%s: %v", name, err), "`bartizan config` prints every key with its default")
	}
}

// Check tells everything that is wrong with c, all at once.
func (c Config) Check() error {
	var wrong []string
	bad := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	if c.Data == "" {
		bad("data: the path is empty")
	}
	address(c.Listen, "listen", bad)
	if (c.TLS.Certificate == "") != (c.TLS.Key == "") {
		bad("tls: certificate and key go together; one is missing")
	}
	if k := c.TLS.Clients; k != "off" && k != "ask" && k != "require" {
		bad("tls.clients: %q is none of off, ask, require", k)
	}
	if c.OIDC.Issuer != "" {
		if c.OIDC.ClientID == "" {
			bad("oidc.client_id: is missing")
		}
		if c.OIDC.Create != "invited" && c.OIDC.Create != "matching" {
			bad("oidc.create: %q is neither invited nor matching", c.OIDC.Create)
		}
	}
	for _, f := range []struct{ key, path string }{{"tls.certificate", c.TLS.Certificate}, {"tls.key", c.TLS.Key}, {"oidc.client_secret_file", c.OIDC.SecretFile}, {"oidc.ca_file", c.OIDC.CAFile}} {
		if f.path != "" {
			if _, err := os.Stat(f.path); err != nil {
				bad("%s: the file cannot be found: %s", f.key, f.path)
			}
		}
	}
	if c.RTSP.Secure != "auto" && c.RTSP.Secure != "off" {
		address(c.RTSP.Secure, "rtsp.secure", bad)
	}
	if c.RTSP.Clear != "off" {
		address(c.RTSP.Clear, "rtsp.clear", bad)
	}
	if c.WebRTC.Listen != "auto" && c.WebRTC.Listen != "off" {
		address(c.WebRTC.Listen, "webrtc.listen", bad)
	}
	for _, a := range c.WebRTC.Addresses {
		if _, err := netip.ParseAddr(a); err != nil {
			bad("webrtc.addresses: %q is not an IP address", a)
		}
	}
	if c.Cameras.KeepDays < 0 || c.Cameras.KeepDays > 36500 {
		bad("cameras.keep_days: %v is not between 0 and 36500", c.Cameras.KeepDays)
	}
	if c.Cameras.KeepBytes < 0 {
		bad("cameras.keep_bytes: %d is below 0", c.Cameras.KeepBytes)
	}
	if c.Storage.MinFreePercent < 0 || c.Storage.MinFreePercent > 90 {
		bad("storage.min_free_percent: %v is not between 0 and 90", c.Storage.MinFreePercent)
	}
	if c.Storage.MaxBytes < 0 {
		bad("storage.max_bytes: %d is below 0", c.Storage.MaxBytes)
	}
	c.Audit.check(bad)
	c.Keys.check(bad)
	switch c.Log.Level {
	case "debug", "info", "warn", "error":
	default:
		bad("log.level: %q is none of debug, info, warn, error", c.Log.Level)
	}
	if c.Log.Format != "text" && c.Log.Format != "json" {
		bad("log.format: %q is neither text nor json", c.Log.Format)
	}
	if len(wrong) == 0 {
		return nil
	}
	return fault.New(fault.Invalid, "the configuration is wrong:\n  "+strings.Join(wrong, "\n  "), "mend these keys; `bartizan config` prints every key with its default")
}

func address(s, key string, bad func(string, ...any)) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		bad("%s: %q is not host:port", key, s)
		return
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		bad("%s: %q is not a port", key, port)
	}
	if strings.ContainsAny(host, " /@") {
		bad("%s: %q is not a host", key, host)
	}
}
