package node

import (
	"encoding/binary"
	"errors"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// The API server speaks JSON and protobuf. A heartbeat of 25 kB costs a tenth of
// the time in protobuf, because what is not read is stepped over. The numbers below are
// those of generated.proto in k8s.io/api/core/v1 and apimachinery's meta/v1; a
// number never gets another meaning.

// Reset empties the Node: what the protobuf decoder of apimachinery asks for
// before Unmarshal.
func (n *Node) Reset() { *n = Node{} }

// Unmarshal reads a Node from protobuf.
func (n *Node) Unmarshal(data []byte) error {
	return eachField(data, func(number int32, value []byte) error {
		switch number {
		case 1:
			return unmarshalMeta(&n.ObjectMeta, value)
		case 2:
			return n.Spec.unmarshal(value)
		case 3:
			return n.Status.unmarshal(value)
		}
		return nil
	})
}

// unmarshalMeta reads what trim keeps. Unmarshal of apimachinery would copy the
// managed fields too, half of the Node.
func unmarshalMeta(m *metav1.ObjectMeta, data []byte) error {
	return eachField(data, func(number int32, value []byte) error {
		switch number {
		case 1:
			m.Name = string(value)
		case 5:
			m.UID = types.UID(value)
		case 6:
			m.ResourceVersion = string(value)
		case 11:
			return addEntry(&m.Labels, value)
		case 12:
			return addEntry(&m.Annotations, value)
		}
		return nil
	})
}

// addEntry reads one entry of a map of strings.
func addEntry(m *map[string]string, data []byte) error {
	var key, value string
	err := eachField(data, func(number int32, v []byte) error {
		switch number {
		case 1:
			key = string(v)
		case 2:
			value = string(v)
		}
		return nil
	})
	if *m == nil {
		*m = map[string]string{}
	}
	(*m)[key] = value
	return err
}

func (s *NodeSpec) unmarshal(data []byte) error {
	return eachField(data, func(number int32, value []byte) error {
		if number == 3 {
			s.ProviderID = string(value)
		}
		return nil
	})
}

func (s *NodeStatus) unmarshal(data []byte) error {
	return eachField(data, func(number int32, value []byte) error {
		switch number {
		case 5:
			s.Addresses = append(s.Addresses, NodeAddress{})
			return s.Addresses[len(s.Addresses)-1].unmarshal(value)
		case 7:
			return s.NodeInfo.unmarshal(value)
		}
		return nil
	})
}

func (a *NodeAddress) unmarshal(data []byte) error {
	return eachField(data, func(number int32, value []byte) error {
		switch number {
		case 1:
			a.Type = string(value)
		case 2:
			a.Address = string(value)
		}
		return nil
	})
}

func (i *NodeSystemInfo) unmarshal(data []byte) error {
	return eachField(data, func(number int32, value []byte) error {
		if number == 2 {
			i.SystemUUID = string(value)
		}
		return nil
	})
}

// Reset empties the list.
func (l *nodeList) Reset() { *l = nodeList{} }

// Unmarshal reads a list of Nodes from protobuf.
func (l *nodeList) Unmarshal(data []byte) error {
	return eachField(data, func(number int32, value []byte) error {
		switch number {
		case 1:
			return l.ListMeta.Unmarshal(value)
		case 2:
			l.Items = append(l.Items, Node{})
			return l.Items[len(l.Items)-1].Unmarshal(value)
		}
		return nil
	})
}

var errCutShort = errors.New("protobuf: cut short")

// eachField gives take each field of a protobuf message that is a string or a
// message itself, in order, and steps over numbers
// (https://protobuf.dev/programming-guides/encoding).
func eachField(data []byte, take func(number int32, value []byte) error) error {
	for len(data) > 0 {
		key, n := binary.Uvarint(data)
		if n <= 0 {
			return errCutShort
		}
		data = data[n:]
		var size uint64
		switch kind := key & 7; kind {
		case 0: // a number; of the others the size is known
			_, n = binary.Uvarint(data)
			size = uint64(n)
		case 1:
			size = 8
		case 2:
			size, n = binary.Uvarint(data)
			data = data[max(n, 0):]
		case 5:
			size = 4
		default:
			return fmt.Errorf("protobuf: wire type %d", kind)
		}
		if n <= 0 || size > uint64(len(data)) {
			return errCutShort
		}
		if key&7 == 2 {
			if err := take(int32(key>>3), data[:size]); err != nil {
				return err
			}
		}
		data = data[size:]
	}
	return nil
}
