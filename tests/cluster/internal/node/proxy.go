package node

import (
	"errors"
	"io"
	"log"
	"net"
	"os"
	"time"
)

// serveProxy lets the host reach the API server. A socket belongs to the network in which it was
// opened: `up` opened this one on the host's loopback, and here its connections are carried over into
// the cluster's network. It needs no privilege, no port of its own choosing, and dies with the supervisor.
func serveProxy(file *os.File) error {
	listener, err := net.FileListener(file)
	if err != nil {
		return err
	}
	file.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				log.Printf("proxy: %v", err)
				time.Sleep(100 * time.Millisecond)
				continue
			}
			go carry(conn.(*net.TCPConn))
		}
	}()
	return nil
}

// carry copies both ways until both ends are done. Closing one direction is passed on, because exec
// and log streams rely on it; there is no timeout, because a watch may be silent for long.
func carry(outside *net.TCPConn) {
	defer outside.Close()
	conn, err := net.Dial("tcp", "127.0.0.1:6443")
	if err != nil {
		return
	}
	inside := conn.(*net.TCPConn)
	defer inside.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		io.Copy(inside, outside)
		inside.CloseWrite()
	}()
	io.Copy(outside, inside)
	outside.CloseWrite()
	<-done
}
