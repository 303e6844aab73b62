package world

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// DNS is a name server that answers every name with one address, when it is well.
type DNS struct {
	// Address is where it listens, host and port.
	Address string
	conn    net.PacketConn
	mu      sync.Mutex
	fault   DNSFault
	asked   int
}

// DNSFault is what is wrong with a DNS.
type DNSFault string

// The faults of a DNS.
const (
	DNSWell DNSFault = ""
	// DNSFails answers SERVFAIL.
	DNSFails DNSFault = "fails"
	// DNSSlow answers after two seconds.
	DNSSlow DNSFault = "slow"
	// DNSSilent answers nothing.
	DNSSilent DNSFault = "silent"
	// DNSElsewhere answers with an address where nobody listens.
	DNSElsewhere DNSFault = "elsewhere"
	// DNSChanges answers now with the one, now with the other.
	DNSChanges DNSFault = "changes"
)

// DNSFaults are all of them.
var DNSFaults = []DNSFault{DNSFails, DNSSlow, DNSSilent, DNSElsewhere, DNSChanges}

// StartDNS starts a name server.
func StartDNS() (*DNS, error) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	d := &DNS{Address: conn.LocalAddr().String(), conn: conn}
	go d.serve()
	return d, nil
}

// Close stops it.
func (d *DNS) Close() { _ = d.conn.Close() }

// Break makes something wrong with it, or (DNSWell) mends it.
func (d *DNS) Break(f DNSFault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fault = f
}

// Asked is how many questions came.
func (d *DNS) Asked() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.asked
}

func (d *DNS) serve() {
	buf := make([]byte, 1500)
	for {
		n, from, err := d.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		var m dnsmessage.Message
		if m.Unpack(buf[:n]) != nil || len(m.Questions) != 1 {
			continue
		}
		d.mu.Lock()
		fault := d.fault
		d.asked++
		d.mu.Unlock()
		answer := answerDNS(m, fault)
		if answer == nil {
			continue
		}
		delay := time.Duration(0)
		if fault == DNSSlow {
			delay = 2 * time.Second
		}
		time.AfterFunc(delay, func() { _, _ = d.conn.WriteTo(answer, from) })
	}
}

func answerDNS(m dnsmessage.Message, fault DNSFault) []byte {
	m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
	home := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	switch {
	case fault == DNSSilent:
		return nil
	case fault == DNSFails:
		m.RCode = dnsmessage.RCodeServerFailure
	case fault == DNSElsewhere || fault == DNSChanges && rand.IntN(2) == 0:
		home = netip.AddrFrom4([4]byte{127, 9, 9, 9})
	}
	if q := m.Questions[0]; q.Type == dnsmessage.TypeA && m.RCode == dnsmessage.RCodeSuccess {
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class},
			Body:   &dnsmessage.AResource{A: home.As4()},
		}}
	}
	b, err := m.Pack()
	if err != nil {
		return nil
	}
	return b
}
