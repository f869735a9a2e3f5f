// Package pkg has the types of a client that cannot be had: ESO's provider for it compiles, and does nothing.
package pkg

import "errors"

// PreviderVaultClient is what ESO's provider calls.
type PreviderVaultClient interface {
	DecryptSecret(id string) (*Secret, error)
	GetTokenInfo() (*Token, error)
}

// Secret is an answer.
type Secret struct{ Secret string }

// Token is an answer.
type Token struct{ TokenType string }

// NewVaultClient makes none.
func NewVaultClient(_, _ string) (PreviderVaultClient, error) {
	return nil, errors.New("this build has no client for Previder Vault")
}
