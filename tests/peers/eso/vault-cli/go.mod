module github.com/previder/vault-cli

go 1.26.0
