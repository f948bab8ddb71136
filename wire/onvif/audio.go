package onvif

import "context"

// GetAudioOutputs lists loudspeakers and line outputs by token. Media2 has no
// such operation: the older service is asked.
func (m Media) GetAudioOutputs(ctx context.Context) (tokens []string, err error) {
	r, err := m.c.Media1().call(ctx, "GetAudioOutputs")
	for _, e := range r.All("AudioOutputs") {
		tokens = append(tokens, e.Attr("token"))
	}
	return tokens, err
}

// GetAudioOutputConfigurations lists them.
func (m Media) GetAudioOutputConfigurations(ctx context.Context) ([]AudioOutputConfiguration, error) {
	r, err := m.call(ctx, "GetAudioOutputConfigurations")
	var out []AudioOutputConfiguration
	for _, e := range r.All("Configurations") {
		out = append(out, audioOutputOf(e))
	}
	return out, err
}

// SetAudioOutputConfiguration changes one, its level for example.
func (m Media) SetAudioOutputConfiguration(ctx context.Context, k AudioOutputConfiguration) error {
	e := el(m.p()+"Configuration", k.content()...)
	e.Children = append(e.Children, el("tt:OutputToken", k.OutputToken))
	if k.SendPrimacy != "" {
		e.Children = append(e.Children, el("tt:SendPrimacy", k.SendPrimacy))
	}
	e.Children = append(e.Children, el("tt:OutputLevel", k.OutputLevel))
	return m.set(ctx, "SetAudioOutputConfiguration", e, m.forced())
}

// AudioOutputOptions are the values an AudioOutputConfiguration may take.
type AudioOutputOptions struct {
	Outputs     []string
	SendPrimacy []string
	Level       Range
}

// GetAudioOutputConfigurationOptions asks for one configuration, or all.
func (m Media) GetAudioOutputConfigurationOptions(ctx context.Context, configuration string) (AudioOutputOptions, error) {
	r, err := m.call(ctx, "GetAudioOutputConfigurationOptions", opt(m.p()+"ConfigurationToken", configuration))
	e := r.Child("Options")
	return AudioOutputOptions{e.strs("OutputTokensAvailable"), e.strs("SendPrimacyOptions"), someRange(e.Child("OutputLevelRange"))}, err
}

// GetAudioDecoderConfigurations lists what decodes the sound sent to the
// device. A profile with one of these and an audio output has a back channel.
func (m Media) GetAudioDecoderConfigurations(ctx context.Context) ([]Configuration, error) {
	r, err := m.call(ctx, "GetAudioDecoderConfigurations")
	var out []Configuration
	for _, e := range r.All("Configurations") {
		out = append(out, configurationOf(e))
	}
	return out, err
}

// AudioEncoding is one way of encoding sound a device understands.
type AudioEncoding struct {
	Encoding    string
	Bitrates    []float64 // kbit/s
	SampleRates []float64 // kHz
}

// GetAudioDecoderConfigurationOptions asks which encodings may be sent to the
// device.
func (m Media) GetAudioDecoderConfigurationOptions(ctx context.Context, configuration string) ([]AudioEncoding, error) {
	r, err := m.call(ctx, "GetAudioDecoderConfigurationOptions", opt(m.p()+"ConfigurationToken", configuration))
	var out []AudioEncoding
	if m.second {
		for _, e := range r.All("Options") {
			out = append(out, AudioEncoding{e.str("Encoding"), floats(e.Child("BitrateList").strs("Items")), floats(e.Child("SampleRateList").strs("Items"))})
		}
		return out, err
	}
	for _, k := range []struct{ name, encoding string }{{"G711DecOptions", "G711"}, {"G726DecOptions", "G726"}, {"AACDecOptions", "AAC"}} {
		if e := r.Child("Options").Child(k.name); e != nil {
			out = append(out, AudioEncoding{k.encoding, floats(e.Child("Bitrate").strs("Items")), floats(e.Child("SampleRateRange").strs("Items"))})
		}
	}
	return out, err
}
