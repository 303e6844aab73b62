// Package sdk holds the program that drives a server through the vendor's SDK; the
// tests in test/endtoend run it.
package sdk
