package storage

// Cipher seals what is written (implemented by security/confidentiality).
type Cipher interface {
	// SealedSize is how long n bytes are when sealed.
	SealedSize(n int) int
	// Seal appends clear, sealed under key and bound to context, to dst.
	Seal(dst, key []byte, context string, clear []byte) ([]byte, error)
	// Open appends what Seal sealed to dst; Corrupt when anything is another.
	Open(dst, key []byte, context string, sealed []byte) ([]byte, error)
}
