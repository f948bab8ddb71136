// Package bartizan is the root of the module: it holds no code, only the test
// that keeps the house as ARCHITECTURE.md draws it.
package bartizan
