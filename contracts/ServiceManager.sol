// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

/// A stand-in for the contracts of Aligned on a development chain: service manager, registry coordinator, BLS key
/// registry, stake registry and state retriever at one address. What operators and aggregators call has the
/// signatures, events, errors and rules of the real ones; registration is two calls of the owner.
/// Everything an operator brings to a quorum is kept as a history by block, so that a task is judged by its snapshot.
contract ServiceManager {
    struct G1 { uint256 X; uint256 Y; }
    struct G2 { uint256[2] X; uint256[2] Y; } // imaginary part first
    struct NonSignerStakesAndSignature {
        uint32[] nonSignerQuorumBitmapIndices;
        G1[] nonSignerPubkeys;
        G1[] quorumApks;
        G2 apkG2;
        G1 sigma;
        uint32[] quorumApkIndices;
        uint32[] totalStakeIndices;
        uint32[][] nonSignerStakeIndices;
    }
    struct QuorumStakeTotals { uint96[] signedStakeForQuorum; uint96[] totalStakeForQuorum; }
    struct CheckSignaturesIndices {
        uint32[] nonSignerQuorumBitmapIndices;
        uint32[] quorumApkIndices;
        uint32[] totalStakeIndices;
        uint32[][] nonSignerStakeIndices;
    }
    struct OperatorStake { address operator; bytes32 operatorId; uint96 stake; }
    struct BatchState { uint32 taskCreatedBlock; bool responded; uint256 respondToTaskFeeLimit; }
    struct Entry { uint32 since; uint192 value; } // holds from its block to the next entry's

    event NewBatchV3(
        bytes32 indexed batchMerkleRoot, address senderAddress, uint32 taskCreatedBlock, string batchDataPointer,
        uint256 respondToTaskFeeLimit
    );
    event BatchVerified(bytes32 indexed batchMerkleRoot, address senderAddress);
    event BatcherBalanceUpdated(address indexed batcher, uint256 newBalance);
    event VerifierDisabled(uint8 indexed verifierIdx);
    event VerifierEnabled(uint8 indexed verifierIdx);
    event NewPubkeyRegistration(address indexed operator, G1 pubkeyG1, G2 pubkeyG2);
    event OperatorSocketUpdate(bytes32 indexed operatorId, string socket);

    error BatchAlreadySubmitted(bytes32 batchIdentifierHash);
    error BatchDoesNotExist(bytes32 batchIdentifierHash);
    error BatchAlreadyResponded(bytes32 batchIdentifierHash);
    error InsufficientFunds(address who, uint256 required, uint256 available);
    error InvalidQuorumThreshold(uint256 signedStakeTimes100, uint256 requiredStakeTimes100);
    error SenderIsNotAggregator(address sender, address aggregator);
    error InvalidDepositAmount(uint256 amount);
    error ExceededMaxRespondFee(uint256 limit, uint256 cost);
    error InvalidAddress(string what);
    error OnlyOwner(address sender);

    uint256 private constant P = 21888242871839275222246405745257275088696311157297823662689037894645226208583;
    uint256 private constant R = 21888242871839275222246405745257275088548364400416034343698204186575808495617;
    uint256 private constant THRESHOLD = 67; // of 100
    uint256 private constant GAS_AFTER_COUNT = 70_000; // what a response costs beside the gas that is measured
    uint256 private constant PAIRING_GAS = 120_000;
    uint8 private constant QUORUM = 0; // the only one, and its bit in a bitmap is 1

    address public immutable owner;
    address public alignedAggregator;
    uint256 public disabledVerifiers; // bit i: proving system i
    mapping(bytes32 => BatchState) public batchesState; // by keccak(root ‖ sender); block 0: no such batch
    mapping(address => uint256) public batchersBalances;

    mapping(address => bytes32) public getOperatorId;
    mapping(bytes32 => address) public getOperatorFromId;
    mapping(bytes32 => G1) private keys;
    bytes32[] private operators; // every one there ever was, in order of its first registration
    mapping(bytes32 => Entry[]) private bitmaps;
    mapping(bytes32 => Entry[]) private stakes;
    Entry[] private totals;
    Entry[] private apkHashes; // first 24 bytes of keccak(X ‖ Y)
    G1 public apk; // sum of the keys of those who are registered now

    modifier onlyOwner() {
        if (msg.sender != owner) revert OnlyOwner(msg.sender);
        _;
    }

    constructor(address aggregator) {
        owner = msg.sender;
        setAggregatorTo(aggregator);
        record(totals, 0);
        record(apkHashes, apkHash(apk));
    }

    // --- tasks ---

    function createNewTask(bytes32 root, string calldata pointer, uint256 respondToTaskFeeLimit) external payable {
        bytes32 id = keccak256(abi.encodePacked(root, msg.sender));
        if (batchesState[id].taskCreatedBlock != 0) revert BatchAlreadySubmitted(id);
        if (msg.value > 0) setBalance(msg.sender, batchersBalances[msg.sender] + msg.value);
        uint256 available = batchersBalances[msg.sender];
        if (available < respondToTaskFeeLimit) revert InsufficientFunds(msg.sender, respondToTaskFeeLimit, available);
        batchesState[id] = BatchState(uint32(block.number), false, respondToTaskFeeLimit);
        emit NewBatchV3(root, msg.sender, uint32(block.number), pointer, respondToTaskFeeLimit);
    }

    function respondToTaskV2(bytes32 root, address sender, NonSignerStakesAndSignature calldata params) external {
        uint256 gasAtEntry = gasleft();
        if (msg.sender != alignedAggregator) revert SenderIsNotAggregator(msg.sender, alignedAggregator);
        bytes32 id = keccak256(abi.encodePacked(root, sender));
        BatchState storage batch = batchesState[id];
        uint256 limit = batch.respondToTaskFeeLimit;
        if (batch.taskCreatedBlock == 0) revert BatchDoesNotExist(id);
        if (batch.responded) revert BatchAlreadyResponded(id);
        if (batchersBalances[sender] < limit) revert InsufficientFunds(sender, limit, batchersBalances[sender]);
        batch.responded = true;
        (QuorumStakeTotals memory stake,) = checkSignatures(id, batch.taskCreatedBlock, params);
        uint256 signed = uint256(stake.signedStakeForQuorum[0]) * 100;
        uint256 required = uint256(stake.totalStakeForQuorum[0]) * THRESHOLD;
        if (signed < required) revert InvalidQuorumThreshold(signed, required);
        emit BatchVerified(root, sender);
        uint256 cost = (gasAtEntry - gasleft() + GAS_AFTER_COUNT) * tx.gasprice;
        if (cost > limit) revert ExceededMaxRespondFee(limit, cost);
        setBalance(sender, batchersBalances[sender] - cost);
        pay(msg.sender, cost);
    }

    function verifyBatchInclusion(
        bytes32 proofHash, bytes32 pubInputHash, bytes32 auxHash, bytes20 generator, bytes32 root, bytes calldata path,
        uint256 index, address sender
    ) public view returns (bool) {
        bytes32 key = sender == address(0) ? root : keccak256(abi.encodePacked(root, sender));
        if (!batchesState[key].responded) return false;
        bytes32 node = keccak256(abi.encodePacked(proofHash, pubInputHash, auxHash, generator));
        if (path.length % 32 != 0) return false;
        for (uint256 start = 0; start < path.length; start += 32) {
            bytes32 sibling = bytes32(path[start:start + 32]);
            node = keccak256(index & 1 == 0 ? abi.encodePacked(node, sibling) : abi.encodePacked(sibling, node));
            index >>= 1;
        }
        return index == 0 && node == root;
    }

    function verifyBatchInclusion(
        bytes32 proofHash, bytes32 pubInputHash, bytes32 auxHash, bytes20 generator, bytes32 root, bytes calldata path,
        uint256 index
    ) external view returns (bool) {
        return verifyBatchInclusion(proofHash, pubInputHash, auxHash, generator, root, path, index, address(0));
    }

    // --- balances ---

    receive() external payable { deposit(msg.sender); }

    function depositToBatcher(address batcher) external payable { deposit(batcher); }

    function withdraw(uint256 amount) external {
        uint256 available = batchersBalances[msg.sender];
        if (available < amount) revert InsufficientFunds(msg.sender, amount, available);
        setBalance(msg.sender, available - amount);
        pay(msg.sender, amount);
    }

    function balanceOf(address batcher) external view returns (uint256) { return batchersBalances[batcher]; }

    function deposit(address batcher) private {
        if (msg.value == 0) revert InvalidDepositAmount(msg.value);
        setBalance(batcher, batchersBalances[batcher] + msg.value);
    }

    function setBalance(address batcher, uint256 balance) private {
        batchersBalances[batcher] = balance;
        emit BatcherBalanceUpdated(batcher, balance);
    }

    function pay(address to, uint256 amount) private {
        (bool done,) = to.call{value: amount}("");
        require(done, "payment refused");
    }

    // --- the owner ---

    function setAggregator(address aggregator) external onlyOwner { setAggregatorTo(aggregator); }

    function setAggregatorTo(address aggregator) private {
        if (aggregator == address(0)) revert InvalidAddress("alignedAggregator");
        alignedAggregator = aggregator;
    }

    function isVerifierDisabled(uint8 index) external view returns (bool) {
        return disabledVerifiers >> index & 1 == 1;
    }

    function disableVerifier(uint8 index) external onlyOwner {
        disabledVerifiers |= 1 << index;
        emit VerifierDisabled(index);
    }

    function enableVerifier(uint8 index) external onlyOwner {
        disabledVerifiers &= ~(1 << index);
        emit VerifierEnabled(index);
    }

    function setDisabledVerifiers(uint256 bitmap) external onlyOwner { disabledVerifiers = bitmap; }

    /// Registers `operator`, or changes its stake. A key is for ever, and is not asked to prove that it is held.
    function setOperator(address operator, G1 calldata g1, G2 calldata g2, uint96 stake) external onlyOwner {
        bytes32 id = keccak256(abi.encode(g1));
        if (getOperatorId[operator] == 0) {
            require(getOperatorFromId[id] == address(0), "key of another operator");
            (getOperatorId[operator], getOperatorFromId[id], keys[id]) = (id, operator, g1);
            operators.push(id);
            emit NewPubkeyRegistration(operator, g1, g2);
        }
        require(getOperatorId[operator] == id, "operator has another key");
        if (last(bitmaps[id]) == 0) {
            record(bitmaps[id], 1);
            setApk(add(apk, g1));
            emit OperatorSocketUpdate(id, "");
        }
        setStake(id, stake);
    }

    function removeOperator(address operator) external onlyOwner {
        bytes32 id = getOperatorId[operator];
        require(last(bitmaps[id]) != 0, "operator not registered");
        record(bitmaps[id], 0);
        setApk(add(apk, negated(keys[id])));
        setStake(id, 0);
    }

    function setApk(G1 memory sum) private {
        apk = sum;
        record(apkHashes, apkHash(sum));
    }

    function setStake(bytes32 id, uint96 stake) private {
        uint192 others = last(totals) - last(stakes[id]);
        record(totals, others + stake);
        record(stakes[id], stake);
    }

    // --- registries, as they are and as they were ---

    function serviceManager() external view returns (address) { return address(this); }
    function blsApkRegistry() external view returns (address) { return address(this); }
    function stakeRegistry() external view returns (address) { return address(this); }
    function indexRegistry() external view returns (address) { return address(this); }

    /// 0 never registered, 1 registered, 2 left.
    function getOperatorStatus(address operator) external view returns (uint8) {
        bytes32 id = getOperatorId[operator];
        return id == 0 ? 0 : last(bitmaps[id]) != 0 ? 1 : 2;
    }

    function getQuorumBitmapAtBlockNumberByIndex(bytes32 id, uint32 number, uint256 index)
        public view returns (uint192)
    {
        return valueAt(bitmaps[id], number, index);
    }

    function getApkHashAtBlockNumberAndIndex(uint8 quorum, uint32 number, uint256 index)
        public view returns (bytes24)
    {
        onlyQuorum(quorum);
        return bytes24(valueAt(apkHashes, number, index));
    }

    function getTotalStakeAtBlockNumberFromIndex(uint8 quorum, uint32 number, uint256 index)
        public view returns (uint96)
    {
        onlyQuorum(quorum);
        return uint96(valueAt(totals, number, index));
    }

    function getStakeAtBlockNumberAndIndex(uint8 quorum, uint32 number, bytes32 id, uint256 index)
        public view returns (uint96)
    {
        onlyQuorum(quorum);
        return uint96(valueAt(stakes[id], number, index));
    }

    /// Who was in each of `quorums` at block `number`, with what stake.
    function getOperatorState(address, bytes calldata quorums, uint32 number)
        external view returns (OperatorStake[][] memory state)
    {
        state = new OperatorStake[][](quorums.length);
        for (uint256 q = 0; q < quorums.length; q++) {
            onlyQuorum(uint8(quorums[q]));
            uint256 count = 0;
            for (uint256 i = 0; i < operators.length; i++) if (wasIn(operators[i], number)) count++;
            state[q] = new OperatorStake[](count);
            count = 0;
            for (uint256 i = 0; i < operators.length; i++) {
                bytes32 id = operators[i];
                if (!wasIn(id, number)) continue;
                uint96 stake = uint96(stakes[id][indexAt(stakes[id], number)].value);
                state[q][count++] = OperatorStake(getOperatorFromId[id], id, stake);
            }
        }
    }

    /// The indices that `checkSignatures` wants for a task of block `number`.
    function getCheckSignaturesIndices(address, uint32 number, bytes calldata quorums, bytes32[] calldata ids)
        external view returns (CheckSignaturesIndices memory hints)
    {
        hints.nonSignerQuorumBitmapIndices = new uint32[](ids.length);
        hints.quorumApkIndices = new uint32[](quorums.length);
        hints.totalStakeIndices = new uint32[](quorums.length);
        hints.nonSignerStakeIndices = new uint32[][](quorums.length);
        for (uint256 i = 0; i < ids.length; i++) {
            require(wasIn(ids[i], number), "operator not registered at that block");
            hints.nonSignerQuorumBitmapIndices[i] = indexAt(bitmaps[ids[i]], number);
        }
        for (uint256 q = 0; q < quorums.length; q++) {
            onlyQuorum(uint8(quorums[q]));
            hints.quorumApkIndices[q] = indexAt(apkHashes, number);
            hints.totalStakeIndices[q] = indexAt(totals, number);
            hints.nonSignerStakeIndices[q] = new uint32[](ids.length);
            for (uint256 i = 0; i < ids.length; i++) {
                hints.nonSignerStakeIndices[q][i] = indexAt(stakes[ids[i]], number);
            }
        }
    }

    function onlyQuorum(uint8 quorum) private pure { require(quorum == QUORUM, "no such quorum"); }

    function wasIn(bytes32 id, uint32 number) private view returns (bool) {
        Entry[] storage history = bitmaps[id];
        return history.length > 0 && history[0].since <= number && history[indexAt(history, number)].value != 0;
    }

    function record(Entry[] storage history, uint192 value) private {
        uint256 length = history.length;
        if (length > 0 && history[length - 1].since == block.number) history[length - 1].value = value;
        else history.push(Entry(uint32(block.number), value));
    }

    function last(Entry[] storage history) private view returns (uint192) {
        return history.length == 0 ? 0 : history[history.length - 1].value;
    }

    function indexAt(Entry[] storage history, uint32 number) private view returns (uint32) {
        for (uint256 i = history.length; i > 0; i--) if (history[i - 1].since <= number) return uint32(i - 1);
        revert("nothing recorded at that block");
    }

    function valueAt(Entry[] storage history, uint32 number, uint256 index) private view returns (uint192) {
        require(index < history.length && history[index].since <= number, "index is of a later block");
        require(index + 1 == history.length || number < history[index + 1].since, "index is of an earlier block");
        return history[index].value;
    }

    // --- signatures ---

    /// How much stake of block `number` has signed `message`. Everybody who is not listed has to have.
    function checkSignatures(bytes32 message, uint32 number, NonSignerStakesAndSignature calldata params)
        public view returns (QuorumStakeTotals memory stake, bytes32 signatoryRecordHash)
    {
        require(number < block.number, "BLSSignatureChecker.checkSignatures: invalid reference block");
        require(
            params.quorumApks.length == 1 && params.quorumApkIndices.length == 1 && params.totalStakeIndices.length == 1
                && params.nonSignerStakeIndices.length == 1
                && params.nonSignerPubkeys.length == params.nonSignerQuorumBitmapIndices.length,
            "BLSSignatureChecker.checkSignatures: lengths do not match"
        );
        require(
            bytes24(apkHash(params.quorumApks[0]))
                == getApkHashAtBlockNumberAndIndex(QUORUM, number, params.quorumApkIndices[0]),
            "BLSSignatureChecker.checkSignatures: key of the quorum is not the registered one"
        );
        stake.signedStakeForQuorum = new uint96[](1);
        stake.totalStakeForQuorum = new uint96[](1);
        uint96 total = getTotalStakeAtBlockNumberFromIndex(QUORUM, number, params.totalStakeIndices[0]);
        (G1 memory absent, uint96 missing, bytes32[] memory ids) = nonSigners(number, params);
        stake.totalStakeForQuorum[0] = total;
        stake.signedStakeForQuorum[0] = total - missing;
        (bool paired, bool valid) = trySignatureAndApkVerification(
            message, add(params.quorumApks[0], negated(absent)), params.apkG2, params.sigma
        );
        require(paired, "BLSSignatureChecker.checkSignatures: pairing failed");
        require(valid, "BLSSignatureChecker.checkSignatures: signature is invalid");
        signatoryRecordHash = keccak256(abi.encodePacked(number, ids));
    }

    function nonSigners(uint32 number, NonSignerStakesAndSignature calldata params)
        private view returns (G1 memory absent, uint96 missing, bytes32[] memory ids)
    {
        ids = new bytes32[](params.nonSignerPubkeys.length);
        uint256 next = 0; // one stake index for each that is in the quorum
        for (uint256 i = 0; i < ids.length; i++) {
            ids[i] = keccak256(abi.encode(params.nonSignerPubkeys[i]));
            require(
                i == 0 || uint256(ids[i - 1]) < uint256(ids[i]),
                "BLSSignatureChecker.checkSignatures: nonSignerPubkeys not sorted"
            );
            uint32 index = params.nonSignerQuorumBitmapIndices[i];
            if (getQuorumBitmapAtBlockNumberByIndex(ids[i], number, index) & 1 == 0) continue;
            absent = add(absent, params.nonSignerPubkeys[i]);
            missing += getStakeAtBlockNumberAndIndex(QUORUM, number, ids[i], params.nonSignerStakeIndices[0][next++]);
        }
    }

    /// One pairing for two claims, joined by gamma: `sigma` signs `message` under `key`, and `key` is `keyG2`.
    function trySignatureAndApkVerification(bytes32 message, G1 memory key, G2 memory keyG2, G1 memory sigma)
        public view returns (bool pairingSuccessful, bool signatureIsValid)
    {
        bytes memory seen = abi.encodePacked(message, key.X, key.Y, keyG2.X, keyG2.Y, sigma.X, sigma.Y);
        uint256 gamma = uint256(keccak256(seen)) % R;
        G1 memory left = add(sigma, mul(key, gamma));
        G1 memory right = add(hashToG1(message), mul(G1(1, 2), gamma));
        uint256[12] memory input = [
            left.X, left.Y, // with the generator of G2, negated
            0x198e9393920d483a7260bfb731fb5d25f1aa493335a9e71297e485b7aef312c2,
            0x1800deef121f1e76426a00665e5c4479674322d4f75edadd46debd5cd992f6ed,
            0x275dc4a288d1afb3cbb1ac09187524c7db36395df7be3b99e673b13a075a65ec,
            0x1d9befcd05a5323e6da4d435f3b617cdb3af83285c2df711ef39c01571827f9d,
            right.X, right.Y, keyG2.X[0], keyG2.X[1], keyG2.Y[0], keyG2.Y[1]
        ];
        uint256[1] memory result;
        assembly ("memory-safe") {
            pairingSuccessful := staticcall(PAIRING_GAS, 8, input, 0x180, result, 0x20)
        }
        signatureIsValid = pairingSuccessful && result[0] == 1;
    }

    /// The first point at or after x = message mod P, with the root as the power gives it.
    function hashToG1(bytes32 message) private view returns (G1 memory) {
        uint256 x = uint256(message) % P;
        while (true) {
            uint256 square = addmod(mulmod(mulmod(x, x, P), x, P), 3, P);
            uint256 y = power(square, (P + 1) / 4);
            if (mulmod(y, y, P) == square) return G1(x, y);
            x = addmod(x, 1, P);
        }
        revert();
    }

    function power(uint256 base, uint256 exponent) private view returns (uint256) {
        uint256[6] memory input = [32, 32, 32, base, exponent, P];
        uint256[1] memory result;
        assembly ("memory-safe") {
            if iszero(staticcall(gas(), 5, input, 0xc0, result, 0x20)) { revert(0, 0) }
        }
        return result[0];
    }

    function add(G1 memory a, G1 memory b) private view returns (G1 memory sum) {
        uint256[4] memory input = [a.X, a.Y, b.X, b.Y];
        bool done;
        assembly ("memory-safe") { done := staticcall(gas(), 6, input, 0x80, sum, 0x40) }
        require(done, "no point of BN254");
    }

    function mul(G1 memory a, uint256 scalar) private view returns (G1 memory product) {
        uint256[3] memory input = [a.X, a.Y, scalar];
        bool done;
        assembly ("memory-safe") { done := staticcall(gas(), 7, input, 0x60, product, 0x40) }
        require(done, "no point of BN254");
    }

    function negated(G1 memory a) private pure returns (G1 memory) { return G1(a.X, a.Y == 0 ? 0 : P - a.Y); }

    function apkHash(G1 memory key) private pure returns (uint192) {
        return uint192(bytes24(keccak256(abi.encode(key))));
    }
}
