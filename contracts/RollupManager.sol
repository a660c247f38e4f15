// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

/// A stand-in for Polygon's rollup manager and its global exit root manager on a development chain, at one address:
/// which batches of each rollup are sequenced and verified, and the leaves of the L1 info tree. Events and the call
/// that takes sequenced batches back are the real ones; sequencing and verifying are plain calls of the owner.
contract RollupManager {
    struct Rollup {
        uint32 id; // 0: there is none at this address
        uint64 lastBatchSequenced;
        uint64 lastVerifiedBatch;
        mapping(uint64 => bytes32) accInputHashes; // of the batches that calls of sequenceBatches have ended with
    }

    event AddExistingRollup(uint32 indexed rollupID, address rollupAddress, uint64 lastBatchSequenced);
    event OnSequenceBatches(uint32 indexed rollupID, uint64 lastBatchSequenced);
    event VerifyBatchesTrustedAggregator(
        uint32 indexed rollupID, uint64 numBatch, bytes32 stateRoot, bytes32 exitRoot, address indexed aggregator
    );
    event RollbackBatches(uint32 indexed rollupID, uint64 indexed targetBatch, bytes32 accInputHashToRollback);
    event UpdateL1InfoTree(bytes32 indexed mainnetExitRoot, bytes32 indexed rollupExitRoot);
    event UpdateL1InfoTreeV2(
        bytes32 currentL1InfoRoot, uint32 indexed leafCount, uint256 blockhash, uint64 minTimestamp
    );

    error NotAllowedAddress();
    error RollupMustExist();
    error RollbackBatchIsNotValid();
    error RollbackBatchIsNotEndOfSequence();
    error NewSequencedBatchMustBeHigher();
    error FinalNumBatchBelowLastVerifiedBatch();

    address public immutable owner;
    uint32 public rollupCount;
    uint32 public depositCount = 1; // leaves of the L1 info tree; leaf 0 is there from the start and stands for none
    mapping(address => Rollup) private rollups;

    modifier onlyOwner() {
        if (msg.sender != owner) revert NotAllowedAddress();
        _;
    }

    constructor() {
        owner = msg.sender;
    }

    /// A chain that begins with `lastBatchSequenced` batches which L1 has seen and proved.
    function addRollup(address rollup, uint64 lastBatchSequenced) external onlyOwner {
        Rollup storage added = rollups[rollup];
        if (added.id != 0) revert RollupMustExist();
        added.id = ++rollupCount;
        added.lastBatchSequenced = added.lastVerifiedBatch = lastBatchSequenced;
        emit AddExistingRollup(added.id, rollup, lastBatchSequenced);
    }

    /// Batches up to `last`, in one sequence.
    function sequenceBatches(address rollup, uint64 last, bytes32 accInputHash) external onlyOwner {
        Rollup storage told = known(rollup);
        if (last <= told.lastBatchSequenced) revert NewSequencedBatchMustBeHigher();
        told.lastBatchSequenced = last;
        told.accInputHashes[last] = accInputHash;
        emit OnSequenceBatches(told.id, last);
    }

    function verifyBatchesTrustedAggregator(address rollup, uint64 last, bytes32 exitRoot, bytes32 stateRoot)
        external
        onlyOwner
    {
        Rollup storage told = known(rollup);
        if (last <= told.lastVerifiedBatch || last > told.lastBatchSequenced) {
            revert FinalNumBatchBelowLastVerifiedBatch();
        }
        told.lastVerifiedBatch = last;
        emit VerifyBatchesTrustedAggregator(told.id, last, stateRoot, exitRoot, msg.sender);
    }

    /// Takes back the sequenced batches above `targetBatch`, which has to be the end of a sequence and not below what
    /// is verified.
    function rollbackBatches(address rollup, uint64 targetBatch) external onlyOwner {
        Rollup storage told = known(rollup);
        if (targetBatch >= told.lastBatchSequenced || targetBatch < told.lastVerifiedBatch) {
            revert RollbackBatchIsNotValid();
        }
        bytes32 accInputHash = told.accInputHashes[targetBatch];
        if (accInputHash == 0 && targetBatch != told.lastVerifiedBatch) revert RollbackBatchIsNotEndOfSequence();
        told.lastBatchSequenced = targetBatch;
        emit RollbackBatches(told.id, targetBatch, accInputHash);
    }

    /// One more leaf of the L1 info tree. Its root is not kept: the event has zeros for it.
    function updateExitRoot(bytes32 mainnetExitRoot, bytes32 rollupExitRoot) external onlyOwner {
        depositCount++;
        emit UpdateL1InfoTree(mainnetExitRoot, rollupExitRoot);
        emit UpdateL1InfoTreeV2(0, depositCount, uint256(blockhash(block.number - 1)), uint64(block.timestamp));
    }

    function rollupAddressToID(address rollup) external view returns (uint32) {
        return rollups[rollup].id;
    }

    function lastBatches(address rollup) external view returns (uint64 sequenced, uint64 verified) {
        Rollup storage told = known(rollup);
        return (told.lastBatchSequenced, told.lastVerifiedBatch);
    }

    function known(address rollup) private view returns (Rollup storage told) {
        told = rollups[rollup];
        if (told.id == 0) revert RollupMustExist();
    }
}
