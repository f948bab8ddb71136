package node

import (
	"bytes"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// The documented file is the truth: it names every key there is.
func TestDefaultFileNamesEveryKey(t *testing.T) {
	c := Default()
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
	out, err := yaml.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	var made, written map[string]any
	if err := yaml.Unmarshal(out, &made); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(DefaultConfig, &written); err != nil {
		t.Fatal(err)
	}
	a, _ := yaml.Marshal(made)
	b, _ := yaml.Marshal(written)
	if !bytes.Equal(a, b) {
		t.Errorf("config.yaml and Config differ:\n%s\n---\n%s", b, a)
	}
}

func TestWrongConfigurationsSayWhatIsWrong(t *testing.T) {
	for _, tt := range []struct {
		yaml string
		want []string
	}{
		{"lisen: x\ncameras:\n  keepdays: 3\n", []string{"lisen", "keepdays", "line 1", "line 3"}},
		{"cameras: {keep_days: many}\nstorage: {max_bytes: much}\n", []string{"many", "much"}},
		{"listen: nowhere\nlog: {level: loud}\nwebrtc: {addresses: [here]}\n", []string{"nowhere", "loud", "here"}},
		{"tls: {certificate: /no/such.pem}\n", []string{"go together", "/no/such.pem"}},
		{"listen: \"localhost:99999\"\n", []string{"99999"}},
		{"cameras: {keep_days: -1}\nstorage: {min_free_percent: 99}\n", []string{"-1", "99"}},
		{"a: [b\n", []string{"line"}},
	} {
		c, err := Parse([]byte(tt.yaml), "bartizan.yaml")
		if err == nil {
			err = c.Check()
		}
		if err == nil {
			t.Errorf("%q was taken", tt.yaml)
			continue
		}
		for _, w := range tt.want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%q: %q does not say %q", tt.yaml, err, w)
			}
		}
	}
}

func TestEmptyFileIsTheDefault(t *testing.T) {
	c, err := Parse([]byte("# nothing\n"), "x")
	if err != nil || c.Listen != Default().Listen || c.Cameras.KeepDays != 30 {
		t.Fatalf("%+v %v", c, err)
	}
}
