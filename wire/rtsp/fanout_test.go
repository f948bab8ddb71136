package rtsp

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bartizan-vms/bartizan/wire/media"
)

// The load: 4 Mbit/s H.264 at 25 pictures a second in groups of 2 s, and AAC's
// 46.9 units a second.
const (
	keySize   = 96_000
	deltaSize = 18_450
	mtu       = 1400
)

// readersResult is what the process of readers tells.
type readersResult struct {
	Units    int
	P50, P99 float64 // ms from WriteBlock to the unit's last byte read
}

// TestReadersProcess is the body of the fan-out benchmark's process of readers;
// it does nothing unless the benchmark started it.
func TestReadersProcess(t *testing.T) {
	addr := os.Getenv("RTSP_FANOUT_ADDR")
	if addr == "" {
		return // not a test of its own
	}
	n, _ := strconv.Atoi(os.Getenv("RTSP_FANOUT_READERS"))
	var (
		mu  sync.Mutex // guards lat
		lat []float64
		wg  sync.WaitGroup
	)
	ctx, cancel := context.WithCancel(context.Background())
	ready := make(chan error, n)
	for range n {
		wg.Go(func() {
			c, err := Dial(ctx, ClientConfig{URL: addr, Verify: func(tls.ConnectionState) error { return nil }, Timeout: time.Minute})
			if err == nil {
				defer c.Close()
				_, err = c.Play(ctx, PlayOptions{})
			}
			ready <- err
			if err != nil {
				return
			}
			own := make([]float64, 0, 4096)
			_ = c.Read(ctx, func(m int, rtcp bool, pkt []byte, at time.Time) error {
				if m == 0 && !rtcp && pkt[1]&0x80 != 0 {
					own = append(own, float64(at.UnixNano()-int64(binary.BigEndian.Uint64(pkt[12:])))/1e6)
				}
				return nil
			})
			mu.Lock()
			lat = append(lat, own[min(len(own), 60):]...) // the first group is a burst of old pictures
			mu.Unlock()
		})
	}
	for range n {
		if err := <-ready; err != nil {
			t.Fatal(err)
		}
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin) // until the benchmark closes it
	cancel()
	wg.Wait()
	slices.Sort(lat)
	r := readersResult{Units: len(lat)}
	if len(lat) > 0 {
		r.P50, r.P99 = lat[len(lat)/2], lat[len(lat)*99/100]
	}
	_ = json.NewEncoder(os.Stdout).Encode(r)
}

func cpu() float64 {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return float64(r.Utime.Nano()+r.Stime.Nano()) / 1e9
}

func fanout(b *testing.B, readers int, secure bool) {
	room := newRoom()
	cfg := ServerConfig{Handler: room, Anonymous: true, MaxConnsPerIP: readers}
	url, server := "rtsp://", (*tls.Config)(nil)
	if secure {
		url, server = "rtsps://", &tls.Config{Certificates: []tls.Certificate{certificate(b, "127.0.0.1", time.Now().Add(time.Hour))}}
	}
	addr, srv := serve(b, cfg, server)
	var vseq, aseq uint16
	feed := func(i int) {
		at := time.Now()
		size, n := deltaSize, i/2
		if i%2 == 0 {
			if n%50 == 0 {
				size = keySize
			}
			blk := Block{Kind: media.VideoTrack, Key: n%50 == 0}
			blk.Data = make([]byte, 0, size+size/mtu*16+64)
			for left := size; left > 0; left -= mtu {
				p := packet(96, vseq, uint32(3600*n), 1, min(left, mtu))
				if len(p) < 20 {
					p = packet(96, vseq, uint32(3600*n), 1, 8)
				}
				if left <= mtu {
					p[1] |= 0x80
				}
				binary.BigEndian.PutUint64(p[12:], uint64(at.UnixNano()))
				blk.Data = AppendFrame(blk.Data, blk.Kind, false, p)
				vseq++
			}
			_ = room.stream.WriteBlock(blk)
		}
		_ = room.stream.WriteBlock(unit(media.AudioTrack, true, &aseq, uint32(1024*i), 1, 170))
	}
	for i := range 100 {
		feed(i)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestReadersProcess$")
	cmd.Env = append(os.Environ(), "RTSP_FANOUT_ADDR="+url+addr+"/", "RTSP_FANOUT_READERS="+strconv.Itoa(readers))
	in, _ := cmd.StdinPipe()
	out, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() || lines.Text() != "ready" {
		b.Fatal("the readers did not start")
	}
	const seconds = 15
	tick := time.NewTicker(20 * time.Millisecond) // a picture every other tick, sound every tick
	defer tick.Stop()
	for i := range 25 {
		<-tick.C
		feed(100 + i)
	}
	c0, t0 := cpu(), time.Now()
	for i := range seconds * 50 {
		<-tick.C
		feed(125 + i)
	}
	used, took := cpu()-c0, time.Since(t0).Minutes()
	in.Close()
	var r readersResult
	if !lines.Scan() || json.Unmarshal(lines.Bytes(), &r) != nil {
		b.Fatal("the readers told nothing")
	}
	_ = cmd.Wait()
	b.ReportMetric(used/took/float64(readers), "cpu-s/reader-min")
	b.ReportMetric(r.P50, "p50-ms")
	b.ReportMetric(r.P99, "p99-ms")
	b.ReportMetric(float64(room.stream.Stats().Skipped), "skipped")
	b.ReportMetric(float64(r.Units), "units")
	_ = srv
}

func BenchmarkFanout(b *testing.B) {
	for _, tc := range []struct {
		readers int
		secure  bool
	}{{50, false}, {200, false}, {50, true}} {
		b.Run(fmt.Sprintf("readers=%d/tls=%v", tc.readers, tc.secure), func(b *testing.B) {
			for range b.N {
				fanout(b, tc.readers, tc.secure)
			}
		})
	}
}
