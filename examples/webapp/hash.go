package main

import (
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
)

// iterations is the number that OWASP's Password Storage Cheat Sheet asks for, for PBKDF2
// with HMAC-SHA-256.
const iterations = 600_000

const scheme = "pbkdf2-sha256"

// hashPassword returns what is stored instead of a password: the algorithm, the salt and
// the hash.
func hashPassword(password string, iterations int) (string, error) {
	salt := make([]byte, 16)
	_, _ = rand.Read(salt) // never fails
	key, err := pbkdf2.Key(sha256.New, password, salt, iterations, sha256.Size)
	if err != nil {
		return "", err
	}
	return formatHash(iterations, salt, key), nil
}

// isPassword reports whether the hash is the password's.
func isPassword(password, hash string) bool {
	parts := strings.Split(hash, "$")
	if len(parts) != 4 || parts[0] != scheme {
		return false
	}
	iterations, err := strconv.Atoi(parts[1])
	if err != nil {
		return false
	}
	salt, err := base64.RawStdEncoding.DecodeString(parts[2])
	if err != nil {
		return false
	}
	key, err := pbkdf2.Key(sha256.New, password, salt, iterations, sha256.Size)
	return err == nil && subtle.ConstantTimeCompare([]byte(formatHash(iterations, salt, key)), []byte(hash)) == 1
}

// unknownHash is a hash that no password has, for an unknown email address.
func unknownHash(iterations int) string {
	return formatHash(iterations, make([]byte, 16), make([]byte, sha256.Size))
}

func formatHash(iterations int, salt, key []byte) string {
	return fmt.Sprintf("%s$%d$%s$%s", scheme, iterations,
		base64.RawStdEncoding.EncodeToString(salt), base64.RawStdEncoding.EncodeToString(key))
}
